"""Diagrams that are drawn from the code itself, for pages: its steps, and its algorithms."""

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import Any

from cyclical import blocks, layers, steps, svg

FONT = 20.0
LETTERS = 10  # of a step's name on a line
LEAST_EMS = 4.0  # of a box's inside
PAD = 12.0
MARGIN = 8.0
LEAST = 640.0  # of a structogram's width


def procedure(needs: Mapping[str, Sequence[str]] = steps.NEEDS, identity: str = "procedure") -> str:
    """Draw the experiment's steps from top to bottom, an arrow from each to what needs it.

    What a longer way implies has no arrow.

    Args:
        needs: What each step needs.
        identity: What the ids in the picture begin with.

    Returns:
        An SVG element for the inside of a page.

    Raises:
        InputError: Steps need one another.
    """
    needed = layers.reduced(needs)
    names = {step: wrap(_words(step), LETTERS, break_long_words=False) or [""] for step in needed}
    widest = max([LEAST_EMS, *(svg.ems(line) for name in names.values() for line in name)])
    heights = {step: FONT * svg.LINE * len(name) + 2 * PAD for step, name in names.items()}
    placed = layers.layout(needed, FONT * widest + 2 * PAD, heights)
    arrow = f"{identity}-arrow"
    marker = (
        f'<defs><marker id="{svg.legal(arrow)}" viewBox="0 0 10 10" refX="10" refY="5" '
        'markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 10 5 0 10z" fill="currentColor" stroke="none"/></marker></defs>'
    )
    moved = f'transform="translate({MARGIN:g} {MARGIN:g})"'
    parts = [
        marker,
        f'<g {moved} font-family="{svg.SANS}" font-size="{FONT:g}">',
        *(_arrow(points, arrow) for points in placed.edges.values()),
        *(_step(placed.boxes[step], name) for step, name in names.items()),
        "</g>",
    ]
    size = (placed.width + 2 * MARGIN, placed.height + 2 * MARGIN)
    return svg.picture(identity, "The steps of the experiment", _told(needed), size, parts)


def _words(step: str) -> str:
    return step.replace("_", " ")


def _told(needed: Mapping[str, Sequence[str]]) -> str:
    sentences = [
        f"{_words(step)} comes after {' and '.join(map(_words, before))}."
        if before
        else f"{_words(step)} needs nothing before it."
        for step, before in needed.items()
    ]
    return " ".join(sentences)


def _arrow(points: Sequence[layers.Point], marker: str) -> str:
    """Draw an edge: upright within a row, bent between two, with an arrow at its end."""
    (x, y), *further = points
    drawn = [f"M{svg.number(x)} {svg.number(y)}"]
    for nx, ny in further:
        middle = svg.number((y + ny) / 2)
        if nx == x:
            drawn.append(f"V{svg.number(ny)}")
        else:
            drawn.append(
                f"C{svg.number(x)} {middle} {svg.number(nx)} {middle} "
                f"{svg.number(nx)} {svg.number(ny)}"
            )
        x, y = nx, ny
    return svg.path("".join(drawn), f'marker-end="url(#{svg.legal(marker)})"')


def _step(box: layers.Box, name: Sequence[str]) -> str:
    top = box.y + (box.height - FONT * svg.LINE * len(name)) / 2
    middle = 'text-anchor="middle" fill="currentColor" stroke="none"'
    edge = svg.rect(box.x, box.y, box.width, box.height, 'rx="10"', svg.PANEL)
    return f"<g>{edge}{svg.lines(name, box.x + box.width / 2, top, FONT, middle)}</g>"


def structogram(function: Callable[..., Any], identity: str | None = None) -> str:
    """Draw a function's algorithm after Nassi and Shneiderman, from its own code.

    What is done in turn stands one below the other, what is chosen from side by side, what is
    repeated within a frame. A filled notch marks where the function or a loop is left.

    Args:
        function: A function that was defined with `def`.
        identity: What the ids in the picture begin with; by default the function's name.

    Returns:
        An SVG element for the inside of a page.

    Raises:
        InputError: It has no code of its own that could be read.
    """
    name, content = blocks.of_function(function)
    width = max(LEAST, 2 * MARGIN + blocks.least(content))
    inner = width - 2 * MARGIN
    height = blocks.height(content, inner)
    parts = [
        f'<g font-family="{svg.MONO}" font-size="{blocks.CODE:g}">',
        *blocks.draw(content, blocks.Area(MARGIN, MARGIN, inner, height)),
        "</g>",
    ]
    told = blocks.told(content)
    size = (width, height + 2 * MARGIN)
    return svg.picture(identity or name, f"The algorithm of {name}", told, size, parts)
