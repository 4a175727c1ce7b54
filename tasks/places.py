"""Where trainings run: on workers of this machine, or of a Dask cluster elsewhere."""

from collections.abc import Mapping
from dataclasses import dataclass

import distributed
from prefect_dask import DaskTaskRunner

from cyclical.config import Experiment
from cyclical.files import Blob
from tasks import cluster, remote
from tasks.caching import gpu_here


@dataclass(frozen=True)
class Place:
    """So many `workers`, on the GPUs that are named, of the kind `gpu`, else on the CPU.

    They are those of the cluster at `address`; without one they are started for the run.
    """

    workers: int
    on_gpus: tuple[str, ...] = ()
    gpu: Mapping[str, str] | None = None
    address: str | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What a training asks a worker for: of a cluster elsewhere a GPU, where there are some."""
        return {remote.GPU: 1} if self.address and self.on_gpus else {}

    def runner(self) -> DaskTaskRunner:
        """Return a task runner that starts, or joins, its cluster with the first task."""
        if self.address:
            return DaskTaskRunner(address=self.address)
        return cluster.runner(self.workers, self.on_gpus)

    def prepare(self, client: distributed.Client, seen: Blob) -> None:
        """Let all workers import TensorFlow; see `cluster.prepare` and `remote.prepare`."""
        if self.address:
            remote.prepare(client, self.gpu, seen)
        else:
            cluster.prepare(client, self.on_gpus)

    def leave(self, client: distributed.Client) -> None:
        """Prepare no more workers of a cluster elsewhere."""
        if self.address:
            remote.leave(client)

    def described(self) -> str:
        """Name it.

        >>> Place(2, address="tcp://10.0.0.1:8786").described()
        'the CPU, 2 trainings side by side, at tcp://10.0.0.1:8786'
        """
        if self.address:
            return remote.described(self.address, self.workers, self.gpu)
        return cluster.described(self.workers, self.on_gpus)


def chosen(config: Experiment) -> Place:
    """Find the place that an experiment is to run at.

    Raises:
        InputError: There are fewer GPUs than it asks for, or its cluster is of no use.
    """
    if address := config.cluster.address:
        offer = remote.offered(address)
        return Place(len(offer.on_gpus) or offer.workers, offer.on_gpus, offer.gpu, address)
    on_gpus = cluster.gpus(config.gpus)
    gpu = gpu_here() if on_gpus else None
    return Place(config.workers or len(on_gpus) or cluster.cores(), on_gpus, gpu)
