"""What a run would do, found by walking through its stages without running any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd
from prefect import Task

from cyclical import arms, bounds, datasets, forecast
from cyclical.config import Experiment
from cyclical.forecast import Forecast
from cyclical.manifests import Artifact, DamagedError, Manifest, artifact_paths
from cyclical.plans import Training
from cyclical.steps import NEEDS, Selection
from cyclical.store import Slot, Store
from tasks.caching import slot_for
from tasks.publishing import Page
from tasks.running import not_cached

BOUNDS = frozenset({"lr_bounds", "batch_bounds"})
MADE_OF_BOUNDS = frozenset(
    {"learning_rate.base_lr", "learning_rate.max_lr", "batch_sizes", "title"}
)


@dataclass
class Plan:
    """A run that computes nothing: in place of a point that is not cached stands its last result.

    So what follows is found cached where that result would come out the same. Where a point was
    never computed, its place is taken by an assumption that tells how many points follow, but not
    what they are made of.
    """

    store: Store
    selection: Selection
    config: Experiment
    gpu: Mapping[str, str] | None
    points: list[Forecast] = field(default_factory=list)
    _open: dict[str, Forecast] = field(default_factory=dict)
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _about: datasets.About | None = None

    def here(self, step: str, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:
        """Say what becomes of a point; return what stands in its place."""
        slot = slot_for(task, self.store, step, label, inputs, gpu=self.gpu)
        found, damage = self._find(slot)
        if found is None and step in self.selection.frozen:
            raise not_cached(step, label)
        earlier = forecast.nearest(self._earlier(step, label), slot.recipe)
        waits, taken = self._waits_for(step, inputs)
        fate, why, new = self._fate(slot, found, damage, earlier and earlier[1], waits, taken=taken)
        seconds = self._seconds(earlier, inputs)
        stand_in = found or (earlier[0] if earlier else self._assumed(slot))
        if fate == "run" and (step, label) == ("load_data", "data"):
            self._about = datasets.expected(
                self.config.data.name,
                self.config.data.path,
                self.config.data.train_images,
                self.config.data.validation_split,
            )
        return self._note(stand_in, Forecast(step, label, fate, why, seconds, new=new))

    def submit(
        self,
        step: str,
        task: Task[..., Artifact],
        label: str,
        *,
        priority: float = 0,  # noqa: ARG002 (a run's)
        **inputs: Any,
    ) -> Callable[[], Artifact]:
        """Say what becomes of a point; return how to get what stands in its place."""
        artifact = self.here(step, task, label, **inputs)
        return lambda: artifact

    def table(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Read what the data are, or bounds; where there are none, what is known or assumed.

        Or the curve of the range test, on which the clock's training depends.
        """
        step = artifact.path.partition("/")[0]
        if step == "load_data" and self._about:
            return pd.DataFrame([asdict(self._about)])
        known = None if step in self._fixed else self._frame(artifact, name)
        return self._assumed_table(step) if known is None else known

    def epoch_seconds(self, training: Artifact) -> Sequence[float]:
        """Return what a training had taken at the end of every epoch, if there is one."""
        try:
            return self.store.manifest_of(training).epoch_seconds
        except DamagedError:
            return ()

    def tell(self, line: str) -> None:
        """Tell nothing: nothing was computed."""

    def show(self, step: str, page: Page) -> None:
        """Show nothing: nothing was computed."""

    def show_table(self, step: str, title: str, artifact: Artifact, name: str) -> None:
        """Show nothing: nothing was computed."""

    def _earlier(self, step: str, label: str) -> list[tuple[Artifact, Manifest]]:
        """List a step's earlier results of a label, of whose folders the store is asked once."""
        if step not in self._paths:
            self._paths[step] = self.store.paths(step)
        return self.store.earlier(step, label, self._paths[step])

    def _find(self, slot: Slot) -> tuple[Artifact | None, str]:
        try:
            return self.store.whole(slot), ""
        except DamagedError as damage:
            return None, str(damage)

    def _frame(self, artifact: Artifact, name: str) -> pd.DataFrame | None:
        try:
            self.store.check(artifact)
        except DamagedError:
            return None
        return self.store.frame(artifact, name)

    def _note(self, artifact: Artifact, point: Forecast) -> Artifact:
        self.points.append(point)
        if point.fate != "cached" and not point.label.endswith(("pictures", "model")):
            self._open[artifact.path] = point
        return artifact

    def _waits_for(self, step: str, inputs: Mapping[str, Any]) -> tuple[dict[str, Forecast], bool]:
        """Name what may change before a point: what it takes (True), else the steps it needs."""
        taken = [self._open[path] for path in artifact_paths(inputs) if path in self._open]
        if taken:
            return {point.label: point for point in taken}, True
        training = inputs.get("training")
        if isinstance(training, Training) and training.label == arms.CLOCK:
            test = [point for point in self._open.values() if point.label == arms.RANGE_TEST]
            if test:
                return {point.label: point for point in test}, False
        steps = set(NEEDS[step]) - self._fixed  # these are known before they are written
        needed = [point for point in self._open.values() if point.step in steps]
        return {point.step: point for point in needed}, False

    @cached_property
    def _fixed(self) -> frozenset[str]:
        return frozenset(name for name in BOUNDS if getattr(self.config, name).fixed)

    def _bounds_are_open(self) -> bool:
        return any(
            point.step in BOUNDS - self._fixed or point.label == arms.RANGE_TEST
            for point in self._open.values()
        )

    def _fate(
        self,
        slot: Slot,
        found: Artifact | None,
        damage: str,
        earlier: Manifest | None,
        waits: Mapping[str, Forecast],
        *,
        taken: bool,
    ) -> tuple[forecast.Fate, str, bool]:
        """Decide what becomes of a point, say why, and whether its bytes will be new.

        Settings that are made of bounds which are not known yet tell nothing: a point may have
        been computed with the same ones before.
        """
        if slot.step in self.selection.refreshed:
            return "run", f"--refresh {slot.step}", False
        if damage or earlier is None:
            return "run", damage or "never computed", not damage
        if found and not waits:
            return "cached", "", False
        unknown = MADE_OF_BOUNDS if waits and self._bounds_are_open() else frozenset()
        changed = forecast.differences(
            earlier.recipe, slot.recipe, contents=not waits, unknown=unknown
        )
        listed = forecast.reason(list(waits))
        after_new = taken and any(point.new for point in waits.values())
        if changed or after_new:
            new = after_new or any(map(forecast.gives_new_bytes, changed))
            return "run", forecast.reason(changed) or f"after {listed}", new
        return "perhaps", f"cached if {'unchanged' if found else 'as once before'}: {listed}", False

    def _seconds(
        self, earlier: tuple[Artifact, Manifest] | None, inputs: Mapping[str, Any]
    ) -> float | None:
        training = inputs.get("training")
        if not isinstance(training, Training):
            return earlier[1].duration_seconds if earlier else 0.0
        if earlier and self._diverged(earlier[0]):
            return earlier[1].duration_seconds  # and will end as early again
        pace = (self._pace(*earlier) if earlier else None) or self._any_pace
        return None if pace is None else pace * training.examples(self._images(inputs["data"]))

    def _diverged(self, artifact: Artifact) -> bool:
        history = self._frame(artifact, "history.parquet")
        return history is not None and bool(history["train_loss"].isna().iloc[-1])

    @cached_property
    def _any_pace(self) -> float | None:
        """Return the seconds an example that the newest training of any step took."""
        found = [each for step in NEEDS for each in self._earlier(step, "*-seed=*")]
        newest = sorted(found, key=lambda each: each[1].written, reverse=True)
        paces = (
            self._pace(*each)
            for each in newest
            if "history.parquet" in each[0].files and not self._diverged(each[0])
        )
        return next(filter(None, paces), None)

    def _pace(self, artifact: Artifact, manifest: Manifest) -> float | None:
        history = self._frame(artifact, "history.parquet")
        if history is None:
            return None
        return manifest.duration_seconds / int(history["examples"].iloc[-1])

    def _assumed_table(self, step: str) -> pd.DataFrame:
        rates = sorted(self.config.lr_sweep.learning_rates)
        if step == "lr_sweep":
            return pd.DataFrame({"learning_rate": rates, "smoothed_loss": 1.0, "diverged": False})
        if step == "lr_bounds":
            found = self.config.lr_bounds.fixed or (rates[0], rates[-1])
            return pd.DataFrame([vars(bounds.LearningRateBounds(*found, rule="assumed"))])
        sizes = sorted(self.config.batch_sweep.batch_sizes)
        return bounds.fixed_batch_bounds(
            *(self.config.batch_bounds.fixed or (sizes[0], sizes[-1]))
        ).table

    def _assumed(self, slot: Slot) -> Artifact:
        return Artifact(path=slot.path, files={}, rows={})

    def _images(self, data: Artifact) -> int:
        return self._about.train_images if self._about else data.rows["train.parquet"]
