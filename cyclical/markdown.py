"""Tables and pictures as Markdown that needs nothing beside it, for pages in Prefect's UI."""

import base64
import math
import re
from typing import Any

import pandas as pd

FOUR_DECIMALS = re.compile(r"(accuracy|loss)(_low|_high)?$")


def table(frame: pd.DataFrame) -> str:
    r"""Lay a table out, numbers to the right.

    >>> print(table(pd.DataFrame({"rate": [0.001, 10], "status": ["learned", "a|b"]})))
    | rate | status |
    |---:|:---|
    | 0.001 | learned |
    | 10 | a\|b |
    """
    marks = [
        "---:" if pd.api.types.is_numeric_dtype(frame[name]) else ":---" for name in frame.columns
    ]
    names = list(map(str, frame.columns))
    rows = [names, *(map(cell, row, names) for row in frame.itertuples(index=False))]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join(marks)}|", *lines[1:]])


def cell(value: Any, column: str = "") -> str:
    """Say a value in a cell: `-` for none, counts in full, other numbers with four figures.

    Accuracies and losses have four decimals, so that those of a column stand beneath each other,
    but very small and large ones. Numbers from 1,000 to a billion are rounded to whole ones: means
    of counts.

    >>> [cell(value) for value in (60000, 18750.4, 0.123456, 1e30, math.nan, None, True)]
    ['60,000', '18,750', '0.1235', '1e+30', '-', '-', 'yes']
    >>> [cell(value, "train_loss") for value in (0.83, 2.30259, 3e-5)]
    ['0.8300', '2.3026', '3e-05']
    """
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return _number(value, column)
        case None:
            return "-"
        case _:
            return str(value).replace("|", "\\|")


def _number(value: float, column: str) -> str:
    size = abs(value)
    if math.isnan(value):
        return "-"
    if FOUR_DECIMALS.search(column) and (size == 0 or 1e-3 <= size < 1_000):
        return f"{value:.4f}"
    return f"{value:,.0f}" if 1_000 <= size < 1e9 else f"{value:.4g}"


def picture(png: bytes, what: str) -> str:
    """Embed a picture, with what it shows for those who can't see it."""
    return f"![{what}](data:image/png;base64,{base64.b64encode(png).decode()})"
