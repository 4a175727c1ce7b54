"""What `make deploy` registers beside the deployments: work pool, limit and automations."""

import argparse
import json
import sys
from pathlib import Path

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectException

from cyclical.errors import InputError, one_line
from tasks.cluster import GPU_LIMIT

POOL = "gpu"
POOL_TYPES = ("process", "docker", "kubernetes")
DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def work_pool(client: SyncPrefectClient, kind: str) -> None:
    """Create the work pool, or give it the present template.

    Raises:
        InputError: There is one of another type: Prefect would keep that type with this template.
    """
    try:
        existing = client.read_work_pool(POOL)
    except ObjectNotFound:
        existing = None
    if existing and existing.type != kind:
        raise InputError(
            f"the work pool {POOL} is of type {existing.type}, not {kind}, and a pool keeps its "
            f"type: make deploy POOL={existing.type}, or delete it first "
            f"(.venv/bin/prefect --no-prompt work-pool delete {POOL})"
        )
    template = json.loads((DEPLOY / f"{kind}.json").read_bytes())
    pool = WorkPoolCreate(name=POOL, type=kind, base_job_template=template)
    client.create_work_pool(pool, overwrite=True)


def automations(client: SyncPrefectClient, file: Path) -> list[str]:
    """Create the automations of a file, or bring those of the same name in line with it."""
    wanted = [AutomationCore.model_validate(each) for each in json.loads(file.read_bytes())]
    for automation in wanted:
        existing = client.read_automations_by_name(automation.name)
        if existing:
            client.update_automation(existing[0].id, automation)
        else:
            client.create_automation(automation)
    return [automation.name for automation in wanted]


def _refused(error: Exception) -> str:
    answer = getattr(error, "response", None)
    if answer is not None and answer.status_code == httpx.codes.UNAUTHORIZED:
        return "the Prefect server asks for a password: set PREFECT_API_AUTH_STRING to it"
    return f"the Prefect server did not take it ({one_line(error)})"


def main() -> None:
    """Register everything; a mistake is told in one line, with exit status 2."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", choices=POOL_TYPES, help="the work pool's type")
    parser.add_argument("gpus", type=int, help="how many trainings may use a GPU at once")
    parser.add_argument("--automations", type=Path, default=DEPLOY / "automations.json")
    chosen = parser.parse_args()
    try:
        with get_client(sync_client=True) as client:
            work_pool(client, chosen.pool)
            client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, max(chosen.gpus, 1))
            names = automations(client, chosen.automations)
    except (InputError, httpx.HTTPError, PrefectException) as error:
        told = error if isinstance(error, InputError) else _refused(error)
        sys.stderr.write(f"cyclical: {told}\n")
        sys.exit(2)
    sys.stdout.write(
        f"work pool {POOL} ({chosen.pool}), limit {GPU_LIMIT} ({max(chosen.gpus, 1)}), "
        f"automation {', '.join(names)}\n"
    )


if __name__ == "__main__":
    main()
