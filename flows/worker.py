"""Prefect's `prefect worker start`, whose worker outlives an early Retry.

    python -m flows.worker --pool gpu --limit 1

A run that is retried while the process of its last attempt still ends is offered to the worker
again, which counts it against its limit a second time. Prefect's limiter refuses that with an error
that ends the worker (PrefectHQ/prefect#16806), and with it all that it would have run.
"""

import sys
from typing import Any

from prefect.cli import app
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.workers.base import BaseWorker

submit_all = BaseWorker._submit_scheduled_flow_runs


async def submit_ended(
    worker: BaseWorker[Any, Any, Any], flow_run_response: list[WorkerFlowRunResponse]
) -> list[FlowRun]:
    """Submit what is scheduled, but for runs of which the last attempt holds a place yet.

    They are offered again with the worker's next look.
    """
    held = worker.limiter.statistics().borrowers if worker._limiter else ()
    free = [each for each in flow_run_response if each.flow_run.id not in held]
    return await submit_all(worker, free)


if __name__ == "__main__":
    BaseWorker._submit_scheduled_flow_runs = submit_ended  # type: ignore[method-assign, assignment]
    sys.argv[1:1] = ["worker", "start"]
    app()
