"""What the flow's process does, step by step, written down by the flow's own stages.

`wire` takes the stages one after the other in one process: it submits trainings, computes small
results itself, and waits where a stage calls what `submit` returned. `recorded` gives the stages a
run that computes nothing and notes these three, in their order. What the stages read on the way,
the bounds, is a finished run's.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pandas as pd
from prefect import Task

from cyclical import datasets, results, steps
from cyclical.config import Experiment
from cyclical.manifests import Artifact, artifact_paths
from cyclical.plans import Training
from cyclical.store import Store
from flows.experiment import wire
from flows.stages import Stages
from tasks.publishing import Page


@dataclass(frozen=True)
class Submit:
    """A task is handed to the cluster: a training, or None for the trial of the model."""

    step: str
    label: str
    priority: float
    training: Training | None


@dataclass(frozen=True)
class Here:
    """The flow's process computes a result itself, from so many others."""

    step: str
    label: str
    inputs: int


@dataclass(frozen=True)
class Wait:
    """The flow's process waits for the task that the operation of this number submitted."""

    submitted: int


@dataclass(frozen=True)
class Show:
    """The flow's process publishes a page or a table."""

    step: str


Operation = Submit | Here | Wait | Show


@dataclass
class Walk:
    """A run that computes nothing; it takes tables from a finished run in `store`."""

    store: Store
    config: Experiment
    operations: list[Operation] = field(default_factory=list)

    def here(self, step: str, task: Task[..., Artifact], label: str, **inputs: Any) -> Artifact:  # noqa: ARG002 (a run's)
        """Note a result of the flow's process."""
        self.operations.append(Here(step, label, len(artifact_paths(inputs))))
        return _reference(step, label)

    def submit(
        self,
        step: str,
        task: Task[..., Artifact],  # noqa: ARG002 (a run's)
        label: str,
        *,
        priority: float = 0,
        **inputs: Any,
    ) -> Callable[[], Artifact]:
        """Note a task for the cluster; return what notes that it is waited for."""
        number = len(self.operations)
        self.operations.append(Submit(step, label, priority, inputs.get("training")))

        def later() -> Artifact:
            self.operations.append(Wait(number))
            return _reference(step, label)

        return later

    def table(self, artifact: Artifact, name: str) -> pd.DataFrame:
        """Say what the data are; read the bounds that the finished run found."""
        step = artifact.path.partition("/")[0]
        if step == "load_data":
            data = self.config.data
            about = datasets.About(28, 28, 1, data.images_trained_on, 10, 0.1, is_fashion=True)
            return pd.DataFrame([asdict(about)])
        return table_of(self.store, step, name)

    def epoch_seconds(self, training: Artifact) -> Sequence[float]:  # noqa: ARG002 (a run's)
        """Return nothing: nothing was computed."""
        return ()

    def tell(self, line: str) -> None:
        """Tell nothing."""

    def show(self, step: str, page: Page) -> None:  # noqa: ARG002 (a run's)
        """Note a page."""
        self.operations.append(Show(step))

    def show_table(self, step: str, title: str, artifact: Artifact, name: str) -> None:  # noqa: ARG002
        """Note a table's page."""
        self.operations.append(Show(step))


def recorded(
    config: Experiment, store: Store, until_step: str | None = None
) -> tuple[Operation, ...]:
    """Write down what a run of Fashion-MNIST from nothing does; its bounds are those in a store."""
    walk = Walk(store, config)
    wire(Stages(walk, config, steps.select(until_step=until_step).wanted))
    return tuple(walk.operations)


def table_of(store: Store, step: str, name: str) -> pd.DataFrame:
    """Read a table of the latest run in a store: the only one of that name in a step."""
    (artifact,) = (
        point.artifact
        for point in results.latest(store).points
        if point.step == step and name in point.artifact.files
    )
    return store.frame(artifact, name)


def _reference(step: str, label: str) -> Artifact:
    return Artifact(path=f"{step}/{label}", files={}, rows={})
