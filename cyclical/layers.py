"""Lay a graph out in rows: which edges say something, which node stands where, where edges run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from cyclical.errors import InputError

Graph = Mapping[str, Sequence[str]]
Edge = tuple[str, str]
Point = tuple[float, float]
Item = tuple[str, str]
"""What takes room in a row: a node (itself twice), or the lane of an edge that passes."""

GAP = 16.0  # between neighbours in a row
FALL = 52.0  # between two rows
SWEEPS = 13  # odd, so that the last one puts what can be below what it needs


@dataclass(frozen=True)
class Box:
    """A node's place: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """Where everything stands.

    An edge runs through its points: upright where two of them have the same x, and from row to
    row where they differ.
    """

    boxes: Mapping[str, Box]
    edges: Mapping[Edge, Sequence[Point]]
    width: float
    height: float


def reduced(needs: Graph) -> dict[str, tuple[str, ...]]:
    """Leave out what longer ways imply, and put what is needed before what needs it.

    >>> reduced({"c": ("a", "b"), "b": ("a",)})
    {'a': (), 'b': ('a',), 'c': ('b',)}

    Args:
        needs: What each node needs; a node that only others name needs nothing.

    Returns:
        The graph with the fewest edges in which every node reaches the same ones.

    Raises:
        InputError: A node needs itself, directly or not.
    """
    try:
        order = tuple(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise InputError(f"steps need one another: {' -> '.join(error.args[1])}") from error
    above: dict[str, set[str]] = {}
    kept: dict[str, tuple[str, ...]] = {}
    for node in order:
        needed = tuple(dict.fromkeys(needs.get(node, ())))
        implied = set[str]().union(*(above[one] for one in needed))
        above[node] = implied.union(needed)
        kept[node] = tuple(one for one in needed if one not in implied)
    return kept


def rows_of(needs: Graph) -> dict[str, int]:
    """Return every node's row: the number of edges on the longest way to it.

    Args:
        needs: A graph in the order of `reduced`.
    """
    rows: dict[str, int] = {}
    for node, needed in needs.items():
        rows[node] = 1 + max((rows[one] for one in needed), default=-1)
    return rows


def layout(needs: Graph, width: float, heights: Mapping[str, float]) -> Layout:
    """Place the nodes in rows from top to bottom, those that need nothing first.

    Args:
        needs: What each node needs, in the order of `reduced`.
        width: The width of every box.
        heights: Every node's least height; the boxes of a row are as high as its highest.

    Returns:
        Boxes that nowhere touch, and edges that run through none.
    """
    ways = _ways(needs)
    rows = _ordered(_filled(needs, ways), ways)
    centres, whole = _centres(rows, ways, width)
    boxes: dict[str, Box] = {}
    levels: list[tuple[float, float]] = []
    top = 0.0
    for row in rows:
        nodes = [node for node, other in row if node == other]
        height = max(heights[node] for node in nodes)
        for node in nodes:
            boxes[node] = Box(centres[len(levels), (node, node)] - width / 2, top, width, height)
        levels.append((top, top + height))
        top += height + FALL
    edges = {edge: _run(way, centres, levels) for edge, way in ways.items()}
    return Layout(boxes, _spread(edges, width), whole, max(0.0, top - FALL))


def _ways(needs: Graph) -> dict[Edge, list[tuple[int, Item]]]:
    rows = rows_of(needs)
    return {
        (above, below): [
            (rows[above], (above, above)),
            *((row, (above, below)) for row in range(rows[above] + 1, rows[below])),
            (rows[below], (below, below)),
        ]
        for below, needed in needs.items()
        for above in needed
    }


def _filled(needs: Graph, ways: Mapping[Edge, list[tuple[int, Item]]]) -> list[list[Item]]:
    at = rows_of(needs)
    rows: list[list[Item]] = [[] for _ in range(1 + max(at.values(), default=-1))]
    for node, row in at.items():
        rows[row].append((node, node))
    for way in ways.values():
        for row, item in way[1:-1]:
            rows[row].append(item)
    return rows


def _neighbours(
    ways: Mapping[Edge, list[tuple[int, Item]]], step: int
) -> dict[tuple[int, Item], list[Item]]:
    """Return what each item joins in the row above (step -1) or below (1)."""
    joined: dict[tuple[int, Item], list[Item]] = {}
    for way in ways.values():
        for (row, item), (_, other) in pairwise(way[::step]):
            joined.setdefault((row, item), []).append(other)
    return joined


def _ordered(
    rows: list[list[Item]], ways: Mapping[Edge, list[tuple[int, Item]]]
) -> list[list[Item]]:
    """Sort every row by the mean place of what it joins, up and down; keep the fewest crossings."""
    best, fewest = rows, _crossings(rows, ways)
    for sweep in range(SWEEPS):
        step = -1 if sweep % 2 == 0 else 1
        joined = _neighbours(ways, step)
        rows = [list(row) for row in rows]
        for row in range(len(rows))[::-step]:
            beside = rows[row + step] if 0 <= row + step < len(rows) else []
            place = {item: index for index, item in enumerate(beside)}
            own = {item: index for index, item in enumerate(rows[row])}
            means = {
                item: _mean([place[other] for other in joined.get((row, item), [])], index)
                for item, index in own.items()
            }
            rows[row].sort(key=means.__getitem__)
        crossings = _crossings(rows, ways)
        if crossings < fewest:
            best, fewest = rows, crossings
    return best


def _crossings(rows: list[list[Item]], ways: Mapping[Edge, list[tuple[int, Item]]]) -> int:
    places = [{item: index for index, item in enumerate(row)} for row in rows]
    falls: list[list[tuple[int, int]]] = [[] for _ in rows]
    for way in ways.values():
        for (row, item), (below, other) in pairwise(way):
            falls[row].append((places[row][item], places[below][other]))
    return sum(
        (one[0] - other[0]) * (one[1] - other[1]) < 0
        for fall in falls
        for index, one in enumerate(fall)
        for other in fall[:index]
    )


def _centres(
    rows: list[list[Item]], ways: Mapping[Edge, list[tuple[int, Item]]], width: float
) -> tuple[dict[tuple[int, Item], float], float]:
    """Return every item's middle, and the width of all: that of the widest row, closely packed."""
    half = [[width / 2 if node == other else 0.0 for node, other in row] for row in rows]
    packed = [_packed(each) for each in half]
    whole = max((ends[-1] + each[-1] for ends, each in zip(packed, half, strict=True)), default=0)
    centres: dict[tuple[int, Item], float] = {}
    for row, items in enumerate(rows):
        spare = (whole - packed[row][-1] - half[row][-1]) / 2
        for item, place in zip(items, packed[row], strict=True):
            centres[row, item] = place + spare
    for sweep in range(SWEEPS):
        step = -1 if sweep % 2 == 0 else 1
        joined = _neighbours(ways, step)
        for row in range(len(rows))[::-step]:
            wished = [
                _mean(
                    [centres[row + step, other] for other in joined.get((row, item), [])],
                    centres[row, item],
                )
                for item in rows[row]
            ]
            settled = _settled(wished, packed[row], whole - packed[row][-1] - half[row][-1])
            for item, place in zip(rows[row], settled, strict=True):
                centres[row, item] = place
    return centres, whole


def _packed(half: Sequence[float]) -> list[float]:
    ends = [half[0]]
    for one, other in pairwise(half):
        ends.append(ends[-1] + one + GAP + other)
    return ends


def _settled(wished: Sequence[float], packed: Sequence[float], spare: float) -> list[float]:
    """Move a row's items to where they are wished, as far as order, distances and edges allow.

    Their distances are at least those of `packed`, so what counts is how far each is from there.
    """
    shifts = [
        min(max(wish - place, 0.0), spare) for wish, place in zip(wished, packed, strict=True)
    ]
    count = len(shifts)
    after = [max(shifts[: index + 1]) for index in range(count)]
    before = [min(shifts[index:]) for index in range(count)]
    return [
        place + (one + other) / 2 for place, one, other in zip(packed, after, before, strict=True)
    ]


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _run(
    way: Sequence[tuple[int, Item]],
    centres: Mapping[tuple[int, Item], float],
    levels: Sequence[tuple[float, float]],
) -> list[Point]:
    points = [(centres[row, item], level) for row, item in way for level in levels[row]]
    return points[1:-1]


def _spread(edges: Mapping[Edge, list[Point]], width: float) -> dict[Edge, list[Point]]:
    """Let the edges into a box end side by side, in the order in which they come."""
    into: dict[str, list[Edge]] = {}
    for edge in sorted(edges, key=lambda edge: edges[edge][-2][0]):
        into.setdefault(edge[1], []).append(edge)
    spread: dict[Edge, list[Point]] = {}
    for edge, points in edges.items():
        others = into[edge[1]]
        apart = min(24.0, 0.8 * width / len(others))
        x, y = points[-1]
        shift = (others.index(edge) - (len(others) - 1) / 2) * apart
        spread[edge] = [*points[:-1], (x + shift, y)]
    return spread
