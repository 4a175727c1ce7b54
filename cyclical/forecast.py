"""What a run would compute: why a point is not cached, and how long it takes."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cyclical import results
from cyclical.config import Experiment
from cyclical.errors import InputError
from cyclical.manifests import Artifact, Manifest
from cyclical.store import Store

SHOWN = 3
LONG = 30
CONTENT = re.compile(r"[0-9a-f]{64}")
NESTED = re.compile(r"inputs\.\w+\.\d")
PLAIN = re.compile(r"^inputs\.(?:settings\.|training\.)?")
Recipe = Mapping[str, Any]


Fate = Literal["cached", "perhaps", "run"]


@dataclass(frozen=True)
class Forecast:
    """What becomes of a point, and why.

    `perhaps`: it is cached if what it needs comes out as it was. `seconds` is what it took when it
    was last computed, in proportion to the examples; None where nothing tells. `new`: its bytes
    will be others than those of any result that there is.
    """

    step: str
    label: str
    fate: Fate
    why: str = ""
    seconds: float | None = None
    new: bool = False


def differences(
    before: Recipe, now: Recipe, *, contents: bool = True, unknown: Collection[str] = ()
) -> tuple[str, ...]:
    """Say in which values two recipes differ, as `name before -> now`.

    Args:
        before: What the earlier result followed from.
        now: What it would follow from now.
        contents: Whether to compare the inputs that are results of other points too.
        unknown: Names of values that are not compared.

    >>> differences(
    ...     {"inputs": {"training": {"epochs": 3}}, "code": {"cyclical.plots": "a" * 64}},
    ...     {"inputs": {"training": {"epochs": 5}}, "code": {"cyclical.plots": "b" * 64}},
    ... )
    ('epochs 3 -> 5', 'code cyclical.plots aaaaaaaa -> bbbbbbbb')
    """
    old, new = dict(_leaves(before)), dict(_leaves(now))
    told: dict[str, str] = {}
    for name in {**old, **new}:
        values = [leaves.get(name, "none") for leaves in (old, new)]
        is_content = name.startswith("inputs.") and any(map(CONTENT.fullmatch, values))
        whole = is_content or name.startswith("inputs.published.")
        spoken = name.split(".")[1] if whole else _spoken(name)
        if values[0] == values[1] or spoken in unknown:
            continue
        if contents or not (is_content or NESTED.match(name)):
            told.setdefault(spoken, f"{spoken} {_short(values[0])} -> {_short(values[1])}")
    return tuple(told.values())


def gives_new_bytes(difference: str) -> bool:
    """Tell whether a difference changes the result for sure: other code or another place may not.

    >>> gives_new_bytes("epochs 3 -> 5"), gives_new_bytes("code cyclical.plots aaaa -> bbbb")
    (True, False)
    """
    return not difference.startswith(
        ("code ", "user code ", "versions ", "environment ", "path ", "source ", "source.")
    )


def changes(store: Store, chosen: Experiment) -> tuple[str, ...]:
    """Say in which settings an experiment differs from the latest run, `field before -> now`."""
    try:
        before = results.latest(store).configuration
    except InputError:  # there is none to compare with
        return ()
    elsewhere = results.ELSEWHERE - {"seeds"}
    return differences(
        *(json.loads(each.model_dump_json(exclude=elsewhere)) for each in (before, chosen))
    )


def reason(told: Sequence[str]) -> str:
    """Join reasons, the first of many."""
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return ", ".join(told[:SHOWN]) + more


def nearest(
    earlier: Sequence[tuple[Artifact, Manifest]], recipe: Recipe
) -> tuple[Artifact, Manifest] | None:
    """Return the earlier result that differs in the fewest values, of several the newest."""
    return min(earlier, key=lambda each: len(differences(each[1].recipe, recipe)), default=None)


def total_seconds(points: Sequence[Forecast], workers: int) -> float | None:
    """Estimate the time of points: trainings side by side, the rest one by one.

    Returns:
        Seconds; None where the time of a training is not known.
    """
    if any(point.seconds is None for point in points):
        return None
    return sum(
        (point.seconds or 0) / (workers if is_training(point.label) else 1) for point in points
    )


def is_training(label: str) -> bool:
    """Tell whether a point is a training, from its label.

    >>> is_training("lr=0.1-seed=0"), is_training("sweep")
    (True, False)
    """
    return bool(re.search(r"-seed=\d+$", label))


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value with its dotted name; lists of plain values are one value."""
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        value = dict(enumerate(value))
    if not isinstance(value, dict):
        yield name, value if isinstance(value, str) else json.dumps(value)
        return
    for key, item in value.items():
        yield from _leaves(item, f"{name}.{key}" if name else str(key))


def _spoken(name: str) -> str:
    for group in ("code", "versions", "environment", "user_code"):
        if name.startswith(f"{group}."):
            return f"{group.replace('_', ' ')} {name.removeprefix(f'{group}.')}"
    return PLAIN.sub("", name)


def _short(value: str) -> str:
    if CONTENT.fullmatch(value):
        return value[:8]
    return value if len(value) <= LONG else f"{value[:LONG]}..."
