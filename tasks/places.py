"""Where trainings run: on workers of this machine, or of a Dask cluster elsewhere."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import distributed
from prefect_dask import DaskTaskRunner

from cyclical.clusters import Cluster
from cyclical.config import Experiment
from cyclical.files import Blob
from tasks import cluster, keeper, presence, remote
from tasks.caching import gpu_here, of_gpu

log = logging.getLogger(__name__)
log.setLevel(logging.INFO)


@dataclass(frozen=True)
class Place:
    """So many `workers`, on the GPUs that are named, of the kind `gpu`, else on the CPU.

    They are those of the cluster at `address`; of one that is `elsewhere` and has none yet, it is
    the run that starts it. Without a cluster elsewhere they are started for the run here.
    """

    workers: int
    on_gpus: tuple[str, ...] = ()
    gpu: Mapping[str, str] | None = None
    address: str | None = None
    elsewhere: Cluster = field(default_factory=Cluster)

    @property
    def resources(self) -> dict[str, float]:
        """What a training asks a worker for: of a cluster of others a GPU, where it has some."""
        of_others = self.address and not self.elsewhere.kind
        return {remote.GPU: 1} if of_others and self.on_gpus else {}

    @contextmanager
    def opened(self) -> Iterator["Place"]:
        """Start the cluster that the run has elsewhere; yield the place with its address.

        Raises:
            InputError: There is no such class, or its workers would not reach Prefect's server.
            RunError: It does not start, or no worker comes.
        """
        kind, minutes = self.elsewhere.kind, self.elsewhere.wait_minutes
        if not kind:
            yield self
            return
        log.info("starting %s; its first worker may take %g minutes", kind, minutes)
        settings = cluster.CLUSTER_SETTINGS
        wanted = keeper.Wanted(kind, self.elsewhere.arguments, self.workers, settings)
        with keeper.kept(wanted, 60 * minutes) as address:
            remote.refuse_unreachable_server(address)
            for worker in presence.await_first(address, minutes, kind):
                remote.refuse_unreachable_server(worker)  # a scheduler may be forwarded to here
            yield replace(self, address=address)

    def runner(self) -> DaskTaskRunner:
        """Return a task runner that starts, or joins, its cluster with the first task."""
        if self.address:
            return DaskTaskRunner(address=self.address)
        return cluster.runner(self.workers, self.on_gpus)

    @contextmanager
    def prepared(
        self, client: distributed.Client, seen: Blob, give_up: Callable[[str], object]
    ) -> Iterator[None]:
        """Let all workers import TensorFlow; see `cluster.prepare` and `remote.prepare`.

        Those of a cluster elsewhere that come later do too, for as long as this lasts; `give_up` is
        called, with the reason, when none has been there for too long.
        """
        if not self.address:
            cluster.prepare(client, self.on_gpus)
            yield
            return
        remote.prepare(client, self.gpu, seen, all_train=not self.resources)
        with presence.attended(client, self.resources, self.elsewhere.wait_minutes, give_up):
            yield

    def described(self) -> str:
        """Name it.

        >>> Place(2, address="tcp://10.0.0.1:8786").described()
        'the CPU, 2 trainings side by side, at tcp://10.0.0.1:8786'
        """
        if self.address:
            return remote.described(self.address, self.workers, self.gpu)
        return cluster.described(self.workers, self.on_gpus)


def chosen(config: Experiment) -> Place:
    """Find the place that an experiment is to run at; no cluster is started for that.

    Raises:
        InputError: There are fewer GPUs than it asks for, or of several kinds, or its cluster is of
            no use.
    """
    elsewhere = config.cluster
    if elsewhere.address:
        offer = remote.offered(elsewhere.address)
        workers = len(offer.on_gpus) or offer.workers
        return Place(workers, offer.on_gpus, offer.gpu, elsewhere.address, elsewhere)
    if elsewhere.kind and elsewhere.workers:
        models = (elsewhere.gpu,) * elsewhere.workers if elsewhere.gpu else ()
        gpu = of_gpu(elsewhere.gpu) if elsewhere.gpu else None
        return Place(elsewhere.workers, models, gpu, elsewhere=elsewhere)
    on_gpus = cluster.gpus(config.gpus)
    gpu = gpu_here() if on_gpus else None
    return Place(config.workers or len(on_gpus) or cluster.cores(), on_gpus, gpu)
