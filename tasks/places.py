"""Where trainings run: on workers of this machine, or of a Dask cluster elsewhere."""

from dataclasses import dataclass, field
from pathlib import Path

import distributed
from prefect_dask import DaskTaskRunner

from cyclical import machine
from cyclical.config import Cluster, Experiment
from tasks import cluster, remote


@dataclass(frozen=True)
class Place:
    """So many `workers`, on the GPUs that are named, of the model `gpu`, else on the CPU.

    They are those of the `elsewhere`, if that is one, or are started on this machine for the run.
    """

    workers: int
    on_gpus: tuple[str, ...] = ()
    gpu: str = ""
    elsewhere: Cluster = field(default_factory=Cluster)

    @property
    def resources(self) -> dict[str, float]:
        """What a training asks a worker for: elsewhere a GPU, where there are some."""
        return {remote.GPU: 1} if self._is_elsewhere and self.on_gpus else {}

    @property
    def _is_elsewhere(self) -> bool:
        return bool(self.elsewhere.address or self.elsewhere.kind)

    def runner(self) -> DaskTaskRunner:
        """Return a task runner that starts, or joins, its cluster with the first task."""
        if self.elsewhere.address:
            return DaskTaskRunner(address=self.elsewhere.address)
        if self.elsewhere.kind:
            asked = {"kind": self.elsewhere.kind, "workers": self.workers}
            return DaskTaskRunner(cluster_class=remote.start, cluster_kwargs=asked)
        return cluster.runner(self.workers, self.on_gpus)

    def prepare(self, client: distributed.Client, code: remote.Code, seen: Path) -> None:
        """Let all workers import TensorFlow; see `cluster.prepare` and `remote.prepare`."""
        if self._is_elsewhere:
            remote.prepare(client, code, seen)
        else:
            cluster.prepare(client, self.on_gpus)

    def described(self) -> str:
        """Name it.

        >>> Place(2, elsewhere=Cluster(address="tcp://10.0.0.1:8786")).described()
        'the CPU, 2 trainings side by side, at tcp://10.0.0.1:8786'
        """
        if self.elsewhere.address:
            where = f"at {self.elsewhere.address}"
        elif self.elsewhere.kind:
            where = f"on a {self.elsewhere.kind.name.partition(':')[2]}"
        else:
            return cluster.described(self.workers, self.on_gpus)
        return remote.described(where, self.workers, bool(self.on_gpus))


def chosen(config: Experiment) -> Place:
    """Find the place that an experiment is to run at.

    Raises:
        InputError: There are fewer GPUs than it asks for, or its cluster is of no use.
    """
    elsewhere = config.cluster
    if elsewhere.address:
        offer = remote.offered(elsewhere.address)
        return Place(len(offer.on_gpus) or offer.workers, offer.on_gpus, offer.gpu, elsewhere)
    if elsewhere.kind:
        if elsewhere.gpus:
            return Place(config.workers or 1, (remote.GPU,), elsewhere.kind.name, elsewhere)
        return Place(config.workers or 1, elsewhere=elsewhere)
    on_gpus = cluster.gpus(config.gpus)
    gpu = remote.models(machine.gpus()) if on_gpus else ""
    return Place(config.workers or len(on_gpus) or cluster.cores(), on_gpus, gpu)
