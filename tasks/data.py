"""The data and the model that the experiment studies."""

from prefect import task

from cyclical import config, datasets
from cyclical.store import Artifact, Slot, Store
from tasks.caching import refuse_edited_code, save


@task
def load_data(slot: Slot, settings: config.Data) -> Artifact:
    """Load, check and cut the data set: train.parquet, test.parquet, class_counts.parquet.

    Where training images are held out, validation.parquet has them.
    """
    dataset = datasets.load(
        settings.name,
        settings.path,
        settings.train_images,
        settings.test_images,
        settings.validation_split,
    )
    parts = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    return save(
        slot,
        {f"{name}.parquet": datasets.to_table(part) for name, part in parts.items() if part}
        | {"class_counts.parquet": datasets.class_counts(dataset)},
    )


@task
def describe_model(slot: Slot, data: Artifact, model: str) -> Artifact:
    """List the model's layers: model_summary.parquet."""
    from cyclical import models

    refuse_edited_code(slot)
    store = Store(root=slot.root)
    shape = datasets.from_table(store.read(data, "test.parquet")).images.shape[1:]
    classes = len(store.frame(data, "class_counts.parquet"))
    return save(slot, {"model_summary.parquet": models.summary(model, shape, classes)})
