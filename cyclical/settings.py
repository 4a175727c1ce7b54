"""From a profile and `field=value` settings to an experiment."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from cyclical.config import PROFILES, Experiment
from cyclical.errors import InputError
from cyclical.values import MOST_SEEDS, Named


def resolve(
    profile: str, settings: Mapping[str, Any] | None = None, seeds: int | None = None
) -> Experiment:
    """Build the experiment: a profile, changed by `settings` (dotted field -> value).

    Args:
        profile: A name of PROFILES.
        settings: Dotted field name -> value of the JSON type that the field takes.
        seeds: Shorthand for seeds 0 to seeds - 1.

    Raises:
        InputError: Unknown profile or field (with the nearest known name), or a value that the
            field does not take.
    """
    values = _values(profile)
    if seeds is not None and not 1 <= seeds <= MOST_SEEDS:
        raise InputError(f"--seeds must be between 1 and {MOST_SEEDS}, but is {seeds}")
    for field, value in (settings or {}).items():
        _put(values, field, value)
    if seeds is not None:
        values["seeds"] = list(range(seeds))
    return validated(values)


def validated(values: Mapping[str, Any]) -> Experiment:
    """Build the experiment of all these values; raise InputError where they make none."""
    try:
        return Experiment.model_validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        raise InputError(_one_line(error)) from None


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Read `field=value` pairs: the value as JSON, else as text.

    >>> parse_settings(["lr_sweep.epochs=2", "data.path=/tmp/x"])
    {'lr_sweep.epochs': 2, 'data.path': '/tmp/x'}
    """
    settings = {}
    for pair in pairs:
        field, equals, text = pair.partition("=")
        if not equals:
            raise InputError(f"--set takes field=value, but got {pair!r}")
        settings[field.strip()] = _json_or_text(text)
    return settings


def fields(model: type[BaseModel] = Experiment, prefix: str = "") -> list[str]:
    """List the dotted names of all settable fields."""
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Named):
            names += fields(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def changes(profile: str, experiment: Experiment) -> dict[str, Any]:
    """Return the settings that make of a profile an experiment: `resolve` takes them.

    >>> changes("quick", PROFILES["quick"].model_copy(update={"workers": 1}))
    {'workers': 1}

    Raises:
        InputError: Unknown profile.
    """
    mine, profiles = json.loads(experiment.model_dump_json()), _values(profile)
    pairs = ((name, _value(mine, name), _value(profiles, name)) for name in fields())
    return {name: value for name, value, in_profile in pairs if value != in_profile}


def profile_named(profile: str) -> Experiment:
    """Return a profile; raise InputError where there is none of that name."""
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}: known are {', '.join(PROFILES)}")
    return PROFILES[profile]


def _values(profile: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(profile_named(profile).model_dump_json())
    return values


def _value(settings: Any, name: str) -> Any:
    for part in name.split("."):
        settings = settings[part]
    return settings


def _put(values: dict[str, Any], field: str, value: Any) -> None:
    known = fields()
    if field not in known:
        near = difflib.get_close_matches(field, known, n=1, cutoff=0.0)[0]
        raise InputError(f"unknown field {field!r}: did you mean {near!r}?")
    *parents, name = field.split(".")
    for parent in parents:
        values = values[parent]
    values[name] = value


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON, or more digits or brackets than Python reads
        return text


def _one_line(error: ValidationError) -> str:
    """Name the first wrong field, its value and what is wanted."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"]) or "experiment"
    message = first["msg"].removeprefix("Value error, ")
    got = (
        "" if first["type"] == "value_error" else f", not {json.dumps(first['input'], default=str)}"
    )
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{field}: {message[0].lower()}{message[1:]}{got}{more}"
