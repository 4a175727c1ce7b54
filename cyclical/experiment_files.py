"""Experiments as TOML files: read, and written with every field commented."""

import inspect
import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from cyclical.config import PROFILES
from cyclical.errors import InputError, one_line
from cyclical.settings import fields, profile_named
from cyclical.values import Named

NULL = "null"
PROFILE = "profile"
WIDTH = 98
HEAD = """\
# An experiment: `cyclical run FILE` runs it, `cyclical config FILE` prints what it comes to.
# What is commented out is as in the profile; take the # away to change it. "null" is for none.
"""


def read(path: Path) -> tuple[str | None, dict[str, Any]]:
    """Return the profile that a file names, if it does, and its settings: dotted field -> value.

    Raises:
        InputError: The file can't be read, or is no TOML.
    """
    try:
        told = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}): `cyclical init` writes one"
        ) from None
    except (ValueError, RecursionError) as error:
        hint = 'text, and "null", stand in quotes'
        raise InputError(f"{path} is no TOML ({one_line(error)}): {hint}") from None
    profile = told.pop(PROFILE, None)
    if profile is not None and not isinstance(profile, str):
        raise InputError(f"{path}: profile must be one of {', '.join(PROFILES)}")
    return profile, dict(_flat(told, "", set(fields())))


def commented(profile: str) -> str:
    """Write a profile as a file in which every field is explained and commented out.

    Raises:
        InputError: Unknown profile.
    """
    chosen = profile_named(profile)
    known = set(fields())
    lines = [HEAD, f'{PROFILE} = "{profile}"', "", *_comment(chosen), *_fields(chosen, "", known)]
    for name in type(chosen).model_fields:
        if name not in known:
            section = getattr(chosen, name)
            lines += ["", f"[{name}]", *_comment(section), *_fields(section, f"{name}.", known)]
    return "\n".join(lines) + "\n"


def _flat(table: Mapping[str, Any], prefix: str, known: set[str]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in known:
            yield from _flat(value, f"{name}.", known)
        else:
            yield name, _plain(value)


def _plain(value: Any) -> Any:
    """Read "null" as none, wherever it stands."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if value == NULL else value


def _comment(section: BaseModel) -> list[str]:
    paragraphs = inspect.cleandoc(type(section).__doc__ or "").split("\n\n")
    return [
        f"# {line}"
        for paragraph in paragraphs
        for line in textwrap.wrap(" ".join(paragraph.split()), WIDTH)
    ]


def _fields(section: BaseModel, prefix: str, known: set[str]) -> Iterator[str]:
    for name in type(section).model_fields:
        if f"{prefix}{name}" in known:
            yield f"#{name} = {_toml(getattr(section, name))}{_choice(section, name)}"


def _choice(section: BaseModel, name: str) -> str:
    """Name in a comment the values that a field takes, where they can be counted."""
    kind = type(section).model_fields[name].annotation
    return f"  # {' | '.join(get_args(kind))}" if get_origin(kind) is Literal else ""


def _toml(value: Any) -> str:
    if value is None:
        return f'"{NULL}"'
    if isinstance(value, Named):
        if not value.arguments:
            return json.dumps(value.name)
        return _table({"name": value.name, **value.arguments})
    if isinstance(value, BaseModel):
        return _table(dict(value))
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _table(values: Mapping[str, Any]) -> str:
    return f"{{ {', '.join(f'{name} = {_toml(each)}' for name, each in values.items())} }}"
