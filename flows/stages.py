"""What each step of the experiment submits, and what it hands to the next."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import cycle, islice
from typing import Any, TypeVar

from prefect import Task

from cyclical import arms, bounds, naming, steps
from cyclical.config import Experiment
from cyclical.manifests import Artifact
from cyclical.plans import Training
from flows import opinions, ranges
from flows.loading import Loaded
from tasks import bounds as bounds_tasks
from tasks import comparison, pictures, publishing, sweeps, training
from tasks.publishing import Page, Section
from tasks.running import Points

T = TypeVar("T")
Later = Callable[[], T]
Arms = list[tuple[Training, Artifact]]
URGENT = 1e6  # more than any training costs
UPDATE_EXAMPLES = 4  # an update costs as much as so many more (the default network, a CPU core)


@dataclass
class Stage:
    """One step of a run: its tasks run under its name."""

    run: Points
    config: Experiment
    step: str
    wanted: Collection[str]
    at_the_end: list[Later[Any]]

    def here(self, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Run a task in this process."""
        return self.run.here(self.step, task, label, **inputs)

    def train(self, loaded: Loaded, training_: Training) -> Later[Artifact]:
        """Start a training on the cluster; return how to wait for it.

        Held-out images judge the sweeps; the test images are for the arms alone.
        """
        return self.run.submit(
            self.step,
            training.train,
            f"{training_.label}-seed={training_.seed}",
            training=training_,
            tested=bool(self.config.data.validation_split) and self.step.endswith("_training"),
            priority=_priority(self.step, training_),
            **loaded.inputs,
        )

    def show(self, title: str, *sections: Section) -> None:
        """Show the step's page in Prefect's UI."""
        self.run.show(self.step, Page(title, sections))


@dataclass
class Stages:
    """The steps of a run, of which those that are not wanted give None."""

    run: Points
    config: Experiment
    wanted: Collection[str]
    _open: list[Later[Any]] = field(default_factory=list)

    def __call__(self, step: str, function: Callable[..., T], *inputs: Any) -> T | None:
        """Begin a step; what it hands on may still be on its way."""
        if step not in self.wanted:
            return None
        begun = function(Stage(self.run, self.config, step, self.wanted, self._open), *inputs)
        if callable(begun):
            self._open.append(begun)
        return begun

    def finish(self) -> None:
        """Wait for all that is still on its way."""
        for later in self._open:
            later()


def sweep_learning_rates(stage: Stage, loaded: Loaded) -> Later[Artifact] | None:
    """Train once for every learning rate, or what replaces that; fixed bounds need no sweep."""
    if stage.config.lr_bounds.fixed:
        return None
    if stage.config.lr_sweep.method == "range_test":
        return ranges.test_range(stage, loaded)
    if stage.config.lr_sweep.method == "clock":
        return ranges.read_clock(stage, loaded)
    return _sweep(stage, loaded, "learning_rate", arms.lr_sweep(stage.config))


def derive_lr_bounds(
    stage: Stage, loaded: Loaded, sweep: Later[Artifact] | None
) -> tuple[float, float]:
    """Read lr_min and lr_max off the sweep and draw them into it."""
    settings = stage.config.lr_bounds
    if sweep is None:
        found = stage.here(bounds_tasks.fix_lr_bounds, "bounds", fixed=settings.fixed)
    elif stage.config.lr_sweep.method == "range_test":
        found = ranges.derive_bounds(stage, sweep())
    else:
        found = stage.here(
            bounds_tasks.derive_lr_bounds,
            "bounds",
            sweep=sweep(),
            settings=settings,
            least=loaded.least,
        )
        published = loaded.published_sweep("learning_rate")
        draw = (
            pictures.draw_clock
            if stage.config.lr_sweep.method == "clock"
            else pictures.draw_lr_sweep
        )
        drawn = stage.here(draw, "pictures", sweep=sweep(), bounds=found, published=published)
        _show_bounds(stage, "Learning rate", found, drawn, sweep())
    lr_min, lr_max = bounds.lr_range(stage.run.table(found, "bounds.parquet"))
    stage.run.tell(f"learning rate: cycle between {lr_min:g} and {lr_max:g}")
    return lr_min, lr_max


def sweep_batch_sizes(
    stage: Stage, loaded: Loaded, rates: tuple[float, float]
) -> Later[Artifact] | None:
    """Train once for every batch size at lr_min; fixed bounds need no sweep."""
    if stage.config.batch_bounds.fixed:
        return None
    trainings = arms.batch_sweep(stage.config, rates[0], loaded.images)
    judged = arms.judged_updates(stage.config, loaded.images)
    return _sweep(stage, loaded, "batch_size", trainings, judged)


def detect_batch_bounds(
    stage: Stage,
    loaded: Loaded,
    of_rates: Later[Artifact] | None,
    sweep: Later[Artifact] | None,
) -> tuple[int, int]:
    """Detect bmin and bmax in the sweep and draw them into it, beside two second opinions."""
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
            least=loaded.least,
        )
        published = loaded.published_sweep("batch_size")
        noise = opinions.noise(stage, loaded, sweep())
        drawn = stage.here(
            pictures.draw_batch_sweep,
            "pictures",
            sweep=sweep(),
            bounds=found,
            published=published,
            noise=noise,
        )
        more = [Section("Gradient noise scale", table=(noise, "noise.parquet"))] if noise else []
        if of_rates is not None and _on_one_clock(stage.config):
            more.append(opinions.at_equal_sums(stage, sweep(), of_rates()))
        _show_bounds(stage, "Batch size", found, drawn, sweep(), *more)
    bmin, bmax = bounds.batch_range(stage.run.table(found, "bounds.parquet"))
    stage.run.tell(f"batch size: cycle between {bmin} and {bmax}")
    return bmin, bmax


def _on_one_clock(config: Experiment) -> bool:
    """Tell whether both sweeps were trained, and with one optimizer: else their S differ."""
    rates, batches = config.lr_sweep, config.batch_sweep
    return rates.method == "sweep" and rates.optimizer == batches.optimizer


def train_with_cyclical_rates(
    stage: Stage, loaded: Loaded, rates: tuple[float, float]
) -> Later[Arms]:
    """Train with a learning rate that cycles from update to update."""
    return _train_arms(stage, loaded, "Cyclical learning rate", arms.clr(stage.config, *rates))


def train_with_cyclic_batches(stage: Stage, loaded: Loaded, sizes: tuple[int, int]) -> Later[Arms]:
    """Train with a batch size that cycles from epoch to epoch."""
    return _train_arms(stage, loaded, "Cyclic batch size", arms.cyclic_batch(stage.config, *sizes))


def train_with_effective_batches(
    stage: Stage, loaded: Loaded, rates: tuple[float, float]
) -> Later[Arms]:
    """Train at lr_min on gradients averaged over groups of micro-batches."""
    return _train_arms(
        stage, loaded, "Effective batch size", arms.effective_batch(stage.config, rates[0])
    )


def train_with_both_cycling(stage: Stage, loaded: Loaded, sizes: tuple[int, int]) -> Later[Arms]:
    """Train with a learning rate that follows the cycle of the batch size."""
    return _train_arms(stage, loaded, "Both cycling", arms.combined(stage.config, *sizes))


def train_with_fixed_settings(
    stage: Stage, loaded: Loaded, rates: tuple[float, float]
) -> Later[Arms]:
    """Train with the settings that cycling must beat."""
    return _train_arms(stage, loaded, "Fixed settings", arms.fixed(stage.config, rates[1]))


def compare(
    stage: Stage,
    loaded: Loaded,
    sweeps: dict[str, Later[Artifact] | None],
    bounds: dict[str, float],
    *trained: Later[Arms],
) -> Artifact:
    """Compare all arms and draw their validation accuracy; set all beside the published run."""
    everything = [arm for later in trained for arm in later()]
    goal = stage.config.comparison.goal
    published = loaded.published_arms
    table = stage.here(
        comparison.compare,
        "comparison",
        arms=everything,
        goal=goal,
        baselines=arms.baselines(stage.config),
        published=published,
    )
    seconds = [each for _, arm in everything for each in stage.run.epoch_seconds(arm)]
    drawn = stage.here(pictures.draw_comparison, "pictures", comparison=table, published=published)
    timed = stage.here(pictures.draw_seconds, "seconds-pictures", comparison=table, seconds=seconds)
    beside = opinions.beside_published(stage, loaded, table, sweeps, bounds)
    stage.show(
        "Comparison of all arms",
        Section(pictures=drawn),
        Section("The same against the time that it took", timed),
        Section(table=(table, "summary.parquet"), columns=publishing.ARM_COLUMNS),
        *beside,
    )
    stage.run.show_table(stage.step, "Every training", table, "comparison.parquet")
    return table


def _show_bounds(
    stage: Stage, what: str, found: Artifact, drawn: Artifact, sweep: Artifact, *more: Section
) -> None:
    value = what.lower().replace(" ", "_")
    shown = (value, *publishing.curve_columns(len(stage.config.seeds)))
    stage.show(
        f"{what}: bounds",
        Section("The bounds", drawn, (found, "bounds.parquet")),
        Section("The sweep, means over its seeds", None, (sweep, "sweep.parquet"), shown),
        *more,
    )


def _priority(step: str, training: Training) -> float:
    """Put first what other steps wait for, then what takes longest: epochs (1 + 4 / batch size)."""
    sizes = islice(cycle(training.batch_sizes), training.epochs)
    return URGENT * steps.urgency(step) + sum(1 + UPDATE_EXAMPLES / size for size in sizes)


def _sweep(
    stage: Stage,
    loaded: Loaded,
    value: str,
    trainings: Iterable[tuple[float, Training]],
    judged: int | None = None,
) -> Later[Artifact]:
    points = [(swept, point.seed, stage.train(loaded, point)) for swept, point in trainings]

    @cache
    def tabulated() -> Artifact:
        table = stage.here(
            sweeps.tabulate_sweep,
            "sweep",
            value=value,
            points=sorted(
                ((swept, seed, artifact()) for swept, seed, artifact in points),
                key=lambda point: point[:2],
            ),
            least=loaded.least,
            judged=judged,
        )
        columns = (value, *publishing.POINT_COLUMNS)
        section = Section(table=(table, "points.parquet"), columns=columns)
        stage.show(f"Sweep of the {value.replace('_', ' ')}", section)
        stage.run.show_table(stage.step, "Every point of the sweep", table, "points.parquet")
        return table

    return tabulated


def _train_arms(
    stage: Stage, loaded: Loaded, title: str, trainings: Iterable[Training]
) -> Later[Arms]:
    started = [(arm, stage.train(loaded, arm)) for arm in trainings]

    @cache
    def drawn() -> Arms:
        finished = [(arm, artifact()) for arm, artifact in started]
        traces = [_draw(stage, loaded, arm, artifact) for arm, artifact in finished]
        stage.show(
            title,
            *(
                Section(f"## {_title(arm)}", trace, (artifact, "history.parquet"))
                for (arm, artifact), trace in zip(finished, traces, strict=True)
                if arm.seed == stage.config.arm_seeds[0]
            ),
        )
        return finished

    return drawn


def _draw(stage: Stage, loaded: Loaded, arm: Training, artifact: Artifact) -> Artifact:
    label = f"{arm.label}-seed={arm.seed}-pictures"
    published = loaded.published_arms.get(arm.label, [])
    return stage.here(
        pictures.draw_training, label, arm=artifact, title=_title(arm), published=published
    )


def _title(arm: Training) -> str:
    return f"{arm.label}, {naming.described(arm.optimizer)}, {arms.describe(arm)}, seed {arm.seed}"
