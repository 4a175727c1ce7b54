"""How a benchmark's figures are printed and kept."""

import json
import os
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from cyclical.files import write_atomically
from cyclical.machine import gpus

LIBRARIES = ("tensorflow", "keras", "torch", "numpy", "prefect", "distributed")


def show(table: pd.DataFrame) -> None:
    """Print a table."""
    print(table.to_string(index=False, na_rep="-"), flush=True)


def save(folder: Path | None, name: str, table: pd.DataFrame, **facts: Any) -> None:
    """Keep a table as `name.parquet`, and beside it, as `name.json`, where it was measured."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{name}.parquet", table.to_parquet(index=False))
    told = json.dumps(facts | machine(), indent=1)
    write_atomically(folder / f"{name}.json", told.encode())


def machine() -> dict[str, Any]:
    """Describe the machine, the versions and the time; memory in GiB."""
    processor = (
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    installed = {each.name.lower(): each.version for each in metadata.distributions()}
    return {
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": next(processor, platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        **({"gpus": models} if (models := gpus()) else {}),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{name: installed[name] for name in LIBRARIES if name in installed},
    }
