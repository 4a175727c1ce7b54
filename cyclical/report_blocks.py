"""What a report's page is made of: pictures, tables and groups of both, read off a run."""

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import pandas as pd

from cyclical import markdown
from cyclical.manifests import Artifact, Manifest
from cyclical.report_chart import Chart
from cyclical.results import Point, RunRecord, Summary
from cyclical.store import Store

PNG = b"\x89PNG\r\n\x1a\n"
HEADINGS = {
    "relative_drop": "accuracy lost to the next size, %",
    "in_range": "within the bounds",
    "lr_min": "lr_min",
    "lr_max": "lr_max",
}
"""Columns whose heading is not their name with blanks."""
WORDS = {"not_learned": "not learned", "minimum_tenth": "a tenth of the least loss's rate"}
WIDE = 7  # columns, from which on a table takes a row of its own


@dataclass(frozen=True)
class Image:
    """A picture: its data URI, its words, and its size as it is to be shown."""

    kind: ClassVar[str] = "image"
    source: str
    words: str
    caption: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Column:
    """A table's column: its heading, and whether it holds numbers."""

    heading: str
    numeric: bool


@dataclass(frozen=True)
class Grid:
    """A table in words: its first column heads the rows; `folded` is opened by a click.

    `whole` maps a cell (row, column) to what it is short for.
    """

    kind: ClassVar[str] = "grid"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    folded: bool = False
    notes: Mapping[str, str] = field(default_factory=dict)
    whole: Mapping[tuple[int, int], str] = field(default_factory=dict)

    @property
    def wide(self) -> bool:
        """Whether it needs a row of its own."""
        return len(self.columns) >= WIDE


@dataclass(frozen=True)
class Svg:
    """A drawing that is part of the page: trusted markup of our own, which says what it shows."""

    kind: ClassVar[str] = "svg"
    markup: str
    caption: str


@dataclass(frozen=True)
class Group:
    """Blocks under a heading of their own."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence["Block"]
    note: str = ""


Block: TypeAlias = Image | Grid | Svg | Chart | Group


@dataclass(frozen=True)
class Reader:
    """A finished run, to be read from its store."""

    store: Store
    run: RunRecord
    summary: Summary

    def points(self, step: str) -> list[Point]:
        """List a step's artifacts, in the run's order."""
        return [point for point in self.run.points if point.step == step]

    def artifact(self, step: str, label: str) -> Artifact | None:
        """Return an artifact of the run, None where it has none of that name."""
        found = (point.artifact for point in self.points(step) if point.label == label)
        return next(found, None)

    def frame(self, step: str, label: str, name: str) -> pd.DataFrame | None:
        """Read a table (its name without ending), None where the run has none of that name."""
        artifact, file = self.artifact(step, label), f"{name}.parquet"
        if artifact is None or file not in artifact.files:
            return None
        return self.store.frame(artifact, file)

    def pictures(self, step: str, label: str) -> dict[str, Path]:
        """Return an artifact's pictures: name without ending -> file."""
        artifact = self.artifact(step, label)
        return {file.stem: file for file in self.store.pictures(artifact)} if artifact else {}

    def manifests(self) -> list[tuple[Point, Manifest]]:
        """Read the manifests of all artifacts, in the run's order."""
        return [(point, self.store.manifest_of(point.artifact)) for point in self.run.points]


def image(content: bytes, words: str, caption: str) -> Image:
    """Embed a PNG, shown at half of its size: it is drawn for dense screens."""
    source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    if content[: len(PNG)] != PNG:
        return Image(source, words, caption)
    width, height = struct.unpack(">II", content[16:24])
    return Image(source, words, caption, width // 2, height // 2)


def grid(
    frame: pd.DataFrame, caption: str, columns: Sequence[str] = (), *, folded: bool = False
) -> Grid:
    """Lay a table out, its numbers as people read them; `columns` are those that are shown."""
    shown = frame[list(columns or frame.columns)]
    numeric = [
        pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
        for kind in shown.dtypes
    ]
    names = list(map(str, shown.columns))
    headings = [HEADINGS.get(name, name.replace("_", " ")) for name in names]
    rows = [tuple(map(cell, row, names)) for row in shown.itertuples(index=False, name=None)]
    return Grid(caption, tuple(map(Column, headings, numeric)), rows, folded)


def texts(rows: Sequence[Mapping[str, str]], caption: str, *, folded: bool = False) -> Grid:
    """Lay rows of words out, numbers in all columns but the first."""
    columns = [Column(name, numeric=number > 0) for number, name in enumerate(rows[0])]
    return Grid(caption, columns, [tuple(row.values()) for row in rows], folded)


def cell(value: Any, column: str = "") -> str:
    """Say a value of a column: numbers as in all our tables, words as they are.

    >>> [cell(value) for value in (60000, 0.123456, "a|b", "not_learned")]
    ['60,000', '0.1235', 'a|b', 'not learned']
    """
    return WORDS.get(value, value) if isinstance(value, str) else markdown.cell(value, column)
