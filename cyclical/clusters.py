"""Where else than on workers of this machine trainings may run: Dask clusters, as configured."""

import re
from collections.abc import Iterator
from typing import Annotated, Self

import pydantic
from pydantic import Field, JsonValue

from cyclical.values import REFERENCE, Count, Frozen

SECRET = re.compile(
    r"pass(word|wd|phrase)|secret|token|credential|(api|access|private)[-_]?key", re.IGNORECASE
)
"""The names of arguments that are refused: a guard against mistakes, which knows no secret by its
looks."""
NAMED = re.compile(r"(?:export\s+)?(\w+)=")
URL_PASSWORD = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


class Cluster(Frozen):
    """The Dask cluster that trains; all of it null for workers of this machine.

    It is that of the scheduler at `address`, such as tcp://10.0.0.1:8786. Or the run starts and
    closes one of the class `kind`, written package.module:Class, with its `arguments` and so many
    `workers`, each on a GPU of the model `gpu` (as the driver names it, "NVIDIA H200"), null for
    the CPU. Prefect's server keeps the arguments, so they are no place for secrets. A run that has
    had no worker for `wait_minutes`, at first or later, fails.
    """

    address: Annotated[str, Field(pattern=r"^(tcp|tls)://[^\s@]+$")] | None = None
    kind: Annotated[str, Field(pattern=f"^{REFERENCE.pattern}$")] | None = None
    arguments: dict[str, JsonValue] = Field(default_factory=dict)
    workers: Count | None = None
    gpu: Annotated[str, Field(min_length=1)] | None = None
    wait_minutes: Annotated[float, Field(gt=0, le=10_080)] = 15.0

    @pydantic.model_validator(mode="after")
    def _is_one_cluster(self) -> Self:
        if self.kind is None:
            for name in ("arguments", "workers", "gpu"):
                if getattr(self, name):
                    raise ValueError(
                        f"{name} is of a cluster that the run starts: set cluster.kind to its class"
                    )
        elif self.address is not None:
            raise ValueError(
                "address is of a cluster that others started, kind of one that the run starts: "
                "leave one of them out"
            )
        elif self.workers is None:
            raise ValueError(f"say how many workers {self.kind} shall have, as cluster.workers")
        return self

    @pydantic.model_validator(mode="after")
    def _arguments_can_be_shown(self) -> Self:
        if "asynchronous" in self.arguments:
            raise ValueError("asynchronous is no argument of the user's: leave it out")
        for name in _secrets("arguments", self.arguments):
            raise ValueError(
                f"arguments hold what looks like a secret, {name!r}, and Prefect's server keeps "
                "them: put that into Dask's own configuration (docs/clusters.md)"
            )
        return self


def _secrets(name: str, value: JsonValue) -> Iterator[str]:
    """Yield the names of what looks like a secret; what refers to one, by its name, does not."""
    if isinstance(value, dict):
        if isinstance(value.get("name"), str) and "value" in value:  # as in a pod's environment
            yield from _secrets(str(value["name"]), value["value"])
        for inner, each in value.items():
            yield from _secrets(inner, each)
    elif isinstance(value, list):
        for each in value:
            yield from _secrets("", each)
    elif isinstance(value, str):
        assigned = NAMED.match(value)
        for told in (name, assigned[1] if assigned else ""):
            if SECRET.search(told):
                yield told
        if URL_PASSWORD.search(value):
            yield name
