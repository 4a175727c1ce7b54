"""The first step: the data and the network, read, checked and kept, before anything is trained."""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclical import arms, fingerprint, precautions, reference, sources
from cyclical.config import Experiment
from cyclical.datasets import About
from cyclical.errors import InputError
from cyclical.learning import least_learned
from cyclical.manifests import Artifact
from cyclical.plans import Training, lay_out
from cyclical.sources import Source
from cyclical.values import SAVED_MODEL
from tasks import data, pictures
from tasks.progress import Event, observer
from tasks.publishing import Section

if TYPE_CHECKING:
    from flows.stages import Stage

log = logging.getLogger(f"tasks.{__name__}")  # one of those that Prefect and the command show


@dataclass(frozen=True)
class Loaded:
    """What all other steps need to know of the data and the network."""

    config: Experiment
    data: Artifact
    about: About
    architecture: Artifact | None = None

    @property
    def images(self) -> int:
        """How many images are trained on."""
        return self.about.train_images

    @property
    def least(self) -> float:
        """The training accuracy from which a training counts as one that learned."""
        return least_learned(self.about.classes, self.about.most_frequent)

    @property
    def inputs(self) -> dict[str, Any]:
        """What a task is given that builds the network for these data."""
        given = {"data": self.data, "classes": self.about.classes}
        return given | ({"architecture": self.architecture} if self.architecture else {})

    def published_sweep(self, value: str) -> reference.Rows:
        """Return the published run's sweep, where it is one of the same model and data."""
        return reference.comparable_sweep(self.config, value, is_fashion=self.about.is_fashion)

    @property
    def published_arms(self) -> dict[str, reference.Rows]:
        """Return the published run's arms that are trained here in the same way."""
        return reference.comparable(self.config, is_fashion=self.about.is_fashion)


def load(stage: "Stage") -> Loaded:
    """Load the data, describe the model, draw samples; try what the later steps will use."""
    config = stage.config
    source = _source(stage, "data", config.data.path)
    kept = stage.here(data.load_data, "data", settings=config.data, source=source)
    (row,) = stage.run.table(kept, "about.parquet").to_dict("records")
    about = About(**{str(name): value for name, value in row.items()})
    loaded = Loaded(config, kept, about, _architecture(stage))
    observer()(Event("loaded", stage.step, "data", images=about.train_images))
    _refuse_batches_above(about.train_images, config, stage.wanted)
    _try_user_code(next(arms.clr(config, *config.clr.paper)), about.train_images)
    for warning in precautions.doubtful(config, about.train_images):
        stage.run.tell(warning)
    described = stage.run.submit(
        stage.step,
        data.describe_model,
        "model",
        model=arms.model_of(config),
        probes=precautions.probes(config),
        **loaded.inputs,
    )
    samples = stage.here(pictures.draw_samples, "pictures", data=kept)
    stage.show(
        "Data and model",
        Section("How many images there are of each class", samples, (kept, "class_counts.parquet")),
        Section(f"Layers of {config.model}", table=(described(), "model_summary.parquet")),
    )
    return loaded


def _architecture(stage: "Stage") -> Artifact | None:
    """Keep the architecture of a saved model, which the trainings take from there."""
    if not stage.config.model.endswith(SAVED_MODEL):
        return None
    path = Path(stage.config.model)
    source = _source(stage, "architecture", path)
    if source is None:
        raise InputError(f"model {path} is not there: name a file that model.save wrote")
    return stage.here(data.read_architecture, "architecture", source=source)


def _source(stage: "Stage", label: str, path: Path | None) -> Source | None:
    """Hash the files at a path; where they are gone, take what was kept of them, and say so.

    None where there is no path, or neither: whoever reads it says what is missing.
    """
    if path is None:
        return None
    place = sources.expanded(path)
    if place.exists():
        return Source(path=place, sha256=sources.digest(place))
    for _, manifest in stage.run.store.earlier(stage.step, label):
        told = manifest.recipe["inputs"].get("source")
        if told and told["path"] == str(place):
            log.warning("%s is gone: what was read of it at %s is used", place, manifest.written)
            return Source(path=place, sha256=told["sha256"])
    return None


def _try_user_code(arm: Training, images: int) -> None:
    """Fail now rather than after hours of sweeps where the user's own function can't be used."""
    for code in arm.user_code:
        fingerprint.of_user_code(code)
    lay_out(arm, images)


def _refuse_batches_above(images: int, config: Experiment, wanted: Collection[str]) -> None:
    for name, size in config.batch_sizes.items():
        section = name.partition(".")[0]
        needed = any(step in {section, f"{section}_training"} for step in wanted)
        if needed and size > images:
            raise InputError(
                f"{name} asks for batches of {size}, but there are {images} training images: "
                "take smaller batches or a larger data.train_images"
            )
