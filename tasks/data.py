"""The data and the network that the experiment studies."""

from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd
from prefect import task

from cyclical import config, datasets, examples, fingerprint, saved_models, sources
from cyclical.errors import InputError
from cyclical.manifests import Artifact
from cyclical.plans import Training
from cyclical.sources import Source
from cyclical.store import Slot
from tasks.caching import refuse_edited_code, save


@task
def load_data(slot: Slot, settings: config.Data, source: Source | None) -> Artifact:
    """Load, check and cut the data set: train.parquet, test.parquet, class_counts.parquet.

    about.parquet has its shapes and sizes in a row. Where training images are held out,
    validation.parquet has them.

    Raises:
        InputError: They can't be loaded, or their source was changed meanwhile.
    """
    dataset = datasets.load(
        settings.name,
        source.path if source else settings.path,
        settings.train_images,
        settings.test_images,
        settings.validation_split,
    )
    refuse_edited_source(slot, source)
    parts = {"train": dataset.train, "test": dataset.test, "validation": dataset.validation}
    return save(
        slot,
        {f"{name}.parquet": examples.to_table(part) for name, part in parts.items() if part}
        | {
            "class_counts.parquet": datasets.class_counts(dataset),
            "about.parquet": pd.DataFrame([asdict(datasets.about(dataset))]),
        },
    )


@task
def read_architecture(slot: Slot, source: Source) -> Artifact:
    """Keep the architecture of a saved model: architecture.parquet, its JSON text in one row."""
    text = saved_models.architecture(source.path)
    refuse_edited_source(slot, source)
    return save(slot, {"architecture.parquet": pd.DataFrame({"config": [text]})})


@task
def describe_model(
    slot: Slot,
    data: Artifact,
    model: str,
    probes: Sequence[Training],
    classes: int,
    architecture: Artifact | None = None,
) -> Artifact:
    """List the model's layers, once it was tried in every way: model_summary.parquet."""
    from cyclical import models, trials

    refuse_edited_code(slot)
    store = slot.store
    images = examples.from_table(store.read(data, "train.parquet").slice(0, trials.IMAGES))
    saved = saved_models.kept_in(store, architecture)
    trials.tried(probes, images, classes, saved)
    shape = images.images.shape[1:]
    summary = models.summary(model, shape, classes, saved)
    return save(slot, {"model_summary.parquet": summary})


def refuse_edited_source(slot: Slot, source: Source | None) -> None:
    """Raise InputError where files, or the user's function, are not what the key was made of."""
    code: dict[str, dict[str, str]] = slot.recipe.get("user_code", {})
    edited = any(fingerprint.of_user_code(reference) != was for reference, was in code.items())
    if edited or (source and sources.digest(source.path) != source.sha256):
        raise InputError(
            f"{source.path if source else ', '.join(code)} was changed while it was read: run again"
        )
