"""What each step of the experiment submits, and what it hands to the next."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from prefect import Task

from cyclical import arms, bounds, fingerprint, reference
from cyclical.config import Experiment
from cyclical.errors import InputError
from cyclical.plans import Training, lay_out
from cyclical.store import Artifact
from tasks import bounds as bounds_tasks
from tasks import comparison, data, pictures, sweeps, training
from tasks.running import Run

T = TypeVar("T")
Later = Callable[[], T]
Arms = list[tuple[Training, Artifact]]


@dataclass
class Stage:
    """One step of a run: its tasks run under its name."""

    run: Run
    config: Experiment
    step: str

    def here(self, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Run a task in this process."""
        return self.run.here(self.step, task, label, **inputs)

    def train(self, data: Artifact, training_: Training) -> Later[Artifact]:
        """Start a training on the cluster; return how to wait for it."""
        return self.run.submit(
            self.step,
            training.train,
            f"{training_.label}-seed={training_.seed}",
            data=data,
            training=training_,
            classes=_classes(data),
        )

    def published_sweep(self, value: str) -> reference.Rows:
        """Return the published run's sweep, where it is one of the same model and data."""
        return reference.sweep(value) if reference.applies(self.config) else []

    def published_arms(self) -> dict[str, reference.Rows]:
        """Return the published run's arms that are trained here in the same way."""
        return reference.comparable(self.config)


@dataclass
class Stages:
    """The steps of a run, of which those that are not wanted give None."""

    run: Run
    config: Experiment
    _open: list[Later[Any]] = field(default_factory=list)

    def __call__(self, step: str, function: Callable[..., T], *inputs: Any) -> T | None:
        """Begin a step; what it hands on may still be on its way."""
        if step not in self.run.selection.wanted:
            return None
        begun = function(Stage(self.run, self.config, step), *inputs)
        if callable(begun):
            self._open.append(begun)
        return begun

    def finish(self) -> None:
        """Wait for all that is still on its way."""
        for later in self._open:
            later()


def load_data(stage: Stage) -> Artifact:
    """Load the data, describe the model, draw samples."""
    loaded = stage.here(data.load_data, "data", settings=stage.config.data)
    _refuse_batches_above(loaded.rows["train.parquet"], stage.config)
    _try_user_code(next(arms.clr(stage.config, *stage.config.clr.paper)), loaded)
    stage.run.submit(
        stage.step, data.describe_model, "model", data=loaded, model=stage.config.model
    )
    stage.here(pictures.draw_samples, "pictures", data=loaded)
    return loaded


def sweep_learning_rates(stage: Stage, loaded: Artifact) -> Later[Artifact] | None:
    """Train once for every learning rate; fixed bounds need no sweep."""
    if stage.config.lr_bounds.fixed:
        return None
    return _sweep(stage, loaded, "learning_rate", arms.lr_sweep(stage.config))


def derive_lr_bounds(
    stage: Stage, loaded: Artifact, sweep: Later[Artifact] | None
) -> tuple[float, float]:
    """Read lr_min and lr_max off the sweep and draw them into it."""
    settings = stage.config.lr_bounds
    if sweep is None:
        found = stage.here(bounds_tasks.fix_lr_bounds, "bounds", fixed=settings.fixed)
    else:
        found = stage.here(
            bounds_tasks.derive_lr_bounds,
            "bounds",
            sweep=sweep(),
            settings=settings,
            classes=_classes(loaded),
        )
        published = stage.published_sweep("learning_rate")
        stage.here(
            pictures.draw_lr_sweep, "pictures", sweep=sweep(), bounds=found, published=published
        )
    return bounds.lr_range(stage.run.store.frame(found, "bounds.parquet"))


def sweep_batch_sizes(
    stage: Stage, loaded: Artifact, rates: tuple[float, float]
) -> Later[Artifact] | None:
    """Train once for every batch size at lr_min; fixed bounds need no sweep."""
    if stage.config.batch_bounds.fixed:
        return None
    return _sweep(stage, loaded, "batch_size", arms.batch_sweep(stage.config, rates[0]))


def detect_batch_bounds(
    stage: Stage, loaded: Artifact, sweep: Later[Artifact] | None
) -> tuple[int, int]:
    """Detect bmin and bmax in the sweep and draw them into it."""
    settings = stage.config.batch_bounds
    if sweep is None:
        found = stage.here(bounds_tasks.fix_batch_bounds, "bounds", fixed=settings.fixed)
    else:
        found = stage.here(
            bounds_tasks.detect_batch_bounds,
            "bounds",
            sweep=sweep(),
            threshold=settings.threshold,
            stretch=settings.stretch,
            classes=_classes(loaded),
        )
        published = stage.published_sweep("batch_size")
        stage.here(
            pictures.draw_batch_sweep, "pictures", sweep=sweep(), bounds=found, published=published
        )
    return bounds.batch_range(stage.run.store.frame(found, "bounds.parquet"))


def train_with_cyclical_rates(
    stage: Stage, loaded: Artifact, rates: tuple[float, float]
) -> Later[Arms]:
    """Train with a learning rate that cycles from update to update."""
    return _train_arms(stage, loaded, arms.clr(stage.config, *rates))


def train_with_cyclic_batches(
    stage: Stage, loaded: Artifact, sizes: tuple[int, int]
) -> Later[Arms]:
    """Train with a batch size that cycles from epoch to epoch."""
    return _train_arms(stage, loaded, arms.cyclic_batch(stage.config, *sizes))


def train_with_effective_batches(
    stage: Stage, loaded: Artifact, rates: tuple[float, float]
) -> Later[Arms]:
    """Train at lr_min on gradients averaged over groups of micro-batches."""
    return _train_arms(stage, loaded, arms.effective_batch(stage.config, rates[0]))


def train_with_both_cycling(stage: Stage, loaded: Artifact, sizes: tuple[int, int]) -> Later[Arms]:
    """Train with a learning rate that follows the cycle of the batch size."""
    return _train_arms(stage, loaded, arms.combined(stage.config, *sizes))


def train_with_fixed_settings(
    stage: Stage, loaded: Artifact, rates: tuple[float, float]
) -> Later[Arms]:
    """Train with the settings that cycling must beat."""
    return _train_arms(stage, loaded, arms.fixed(stage.config, rates[1]))


def compare(stage: Stage, *trained: Later[Arms]) -> Artifact:
    """Compare all arms and draw their validation accuracy."""
    everything = [arm for later in trained for arm in later()]
    goal = stage.config.comparison.goal
    published = stage.published_arms()
    table = stage.here(
        comparison.compare, "comparison", arms=everything, goal=goal, published=published
    )
    stage.here(pictures.draw_comparison, "pictures", comparison=table, published=published)
    return table


def _sweep(
    stage: Stage, loaded: Artifact, value: str, trainings: Iterable[tuple[float, Training]]
) -> Later[Artifact]:
    points = [(swept, point.seed, stage.train(loaded, point)) for swept, point in trainings]

    @cache
    def tabulated() -> Artifact:
        return stage.here(
            sweeps.tabulate_sweep,
            "sweep",
            value=value,
            points=sorted(
                ((swept, seed, artifact()) for swept, seed, artifact in points),
                key=lambda point: point[:2],
            ),
            classes=_classes(loaded),
        )

    return tabulated


def _train_arms(stage: Stage, loaded: Artifact, trainings: Iterable[Training]) -> Later[Arms]:
    started = [(arm, stage.train(loaded, arm)) for arm in trainings]

    @cache
    def drawn() -> Arms:
        return [(arm, _drawn(stage, arm, artifact())) for arm, artifact in started]

    return drawn


def _drawn(stage: Stage, arm: Training, artifact: Artifact) -> Artifact:
    title = f"{arm.label}, {arm.optimizer.described}, {arms.describe(arm)}, seed {arm.seed}"
    label = f"{arm.label}-seed={arm.seed}-pictures"
    published = stage.published_arms().get(arm.label, [])
    stage.here(pictures.draw_training, label, arm=artifact, title=title, published=published)
    return artifact


def _try_user_code(arm: Training, loaded: Artifact) -> None:
    """Fail now rather than after hours of sweeps where the user's own function can't be used."""
    for code in arm.user_code:
        fingerprint.of_user_code(code)
        lay_out(arm, loaded.rows["train.parquet"])


def _classes(loaded: Artifact) -> int:
    return loaded.rows["class_counts.parquet"]


def _refuse_batches_above(train_images: int, config: Experiment) -> None:
    for name, size in config.batch_sizes.items():
        if size > train_images:
            raise InputError(
                f"{name} asks for batches of {size}, but there are {train_images} training images: "
                "take smaller batches or a larger data.train_images"
            )
