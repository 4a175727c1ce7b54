"""Diagrams: what is drawn is all that the code says, and nothing lies over anything else."""

import ast
import itertools
import linecache
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cyclical import bounds, steps
from cyclical.diagrams import procedure, structogram
from cyclical.errors import InputError

SVG = "{http://www.w3.org/2000/svg}"
ASCENT, DESCENT = 0.8, 0.25  # of a font's size, above and below the baseline
Place = tuple[float, float, float, float]


# What a picture holds


def read(picture: str) -> ET.Element:
    return ET.fromstring(picture)


def place(rect: ET.Element) -> Place:
    """Return a rectangle's left, top, right and bottom."""
    x, y, width, height = (float(rect.get(name, "nan")) for name in ("x", "y", "width", "height"))
    return x, y, x + width, y + height


def boxes(drawn: ET.Element) -> Iterator[tuple[Place, list[ET.Element]]]:
    """Yield every rectangle that holds text, with its lines of text."""
    for group in drawn.iter(f"{SVG}g"):
        rect, lines = group.find(f"{SVG}rect"), group.findall(f"{SVG}text")
        if rect is not None and lines and not group.attrib:
            yield place(rect), lines


def written(lines: Sequence[ET.Element]) -> str:
    return " ".join(str(line.text or "").strip() for line in lines)


def extent(line: ET.Element, size: float, em: Callable[[str], float]) -> Place:
    width = size * sum(map(em, line.text or ""))
    x, y = float(line.get("x", "nan")), float(line.get("y", "nan"))
    left = x - width / 2 if line.get("text-anchor") == "middle" else x
    return left, y - ASCENT * size, left + width, y + DESCENT * size


def mono(letter: str) -> float:
    """Return the width of a letter in DejaVu Sans Mono, the widest of the fonts that are named."""
    return 1.204 if unicodedata.east_asian_width(letter) in "WF" else 0.602


def sans(letter: str) -> float:
    """Return the width of a letter in DejaVu Sans, the widest of the fonts that are named."""
    widths = {"m": 0.974, "w": 0.818, "W": 0.989, " ": 0.318, "&": 0.78, "<": 0.838, ">": 0.838}
    return widths.get(letter, 0.635)


def within(inner: Place, outer: Place) -> bool:
    near = 0.15  # lengths are written to a tenth
    return (
        inner[0] >= outer[0] - near
        and inner[1] >= outer[1] - near
        and inner[2] <= outer[2] + near
        and inner[3] <= outer[3] + near
    )


def overlap(one: Place, other: Place) -> bool:
    near = 0.15
    return (
        one[0] < other[2] - near
        and other[0] < one[2] - near
        and one[1] < other[3] - near
        and other[1] < one[3] - near
    )


def canvas(drawn: ET.Element) -> Place:
    left, top, width, height = map(float, drawn.get("viewBox", "").split())
    return left, top, width, height


# The procedure

NAMES = [f"{word}_step" for word in "abcdefgh"] + ["<&>\"'_W", "mmmmmmmmmmmmmmmmm"]
GRAPHS = st.permutations(NAMES).flatmap(
    lambda names: st.integers(0, len(names)).flatmap(
        lambda count: st.fixed_dictionaries(
            {
                name: st.lists(st.sampled_from(names[:index]), unique=True)
                if index
                else st.just([])
                for index, name in enumerate(names[:count])
            }
        )
    )
)
Graph = Mapping[str, Sequence[str]]


def shown(drawn: ET.Element) -> dict[str, Place]:
    """Return where every step of a procedure is drawn."""
    [moved] = drawn.findall(f"{SVG}g")
    return {written(lines): spot for spot, lines in boxes(moved)}


def runs(drawn: ET.Element) -> Iterator[list[tuple[float, float]]]:
    """Yield the points of every edge; between two it stays within the rectangle they span."""
    [moved] = drawn.findall(f"{SVG}g")
    for edge in moved.findall(f"{SVG}path"):
        points: list[tuple[float, float]] = []
        for letter, figures in re.findall(r"([MVC])([^MVC]+)", edge.get("d", "")):
            values = [float(figure) for figure in figures.split()]
            if letter == "C":
                (x, y), (x1, y1, x2, y2, *end) = points[-1], values
                assert (x1, x2) == (x, end[0])
                assert y <= y1 == y2 <= end[1]
            points.append((points[-1][0], values[0]) if letter == "V" else (values[-2], values[-1]))
        yield points


def joined(drawn: ET.Element) -> list[tuple[str, str]]:
    """Read the edges off a picture: from the box at whose foot each begins to that it ends on."""
    found = []
    spots = shown(drawn)
    for (x, y), *_, (end, foot) in runs(drawn):
        [above] = [n for n, b in spots.items() if b[0] <= x <= b[2] and abs(b[3] - y) < 0.15]
        [below] = [n for n, b in spots.items() if b[0] <= end <= b[2] and abs(b[1] - foot) < 0.15]
        found.append((above, below))
    return found


def reachable(edges: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    after: dict[str, set[str]] = {}
    for above, below in edges:
        after.setdefault(above, set()).add(below)
    pairs = set(edges)
    fresh = list(pairs)
    while fresh:
        above, below = fresh.pop()
        further = {(above, beyond) for beyond in after.get(below, ())} - pairs
        pairs |= further
        fresh.extend(further)
    return pairs


def edges_of(needs: Graph) -> list[tuple[str, str]]:
    words = {name: name.replace("_", " ") for name in NAMES + list(steps.NEEDS)}
    return [(words[a], words[b]) for b, needed in needs.items() for a in needed]


@settings(deadline=None, max_examples=50)
@given(needs=GRAPHS)
@example(needs=steps.NEEDS)
def test_the_arrows_join_what_needs_one_another_and_none_says_what_others_imply(
    needs: Graph,
) -> None:
    arrows = joined(read(procedure(needs)))
    assert len(set(arrows)) == len(arrows)
    everything = reachable(arrows)
    assert everything == reachable(edges_of(needs))
    for arrow in arrows:
        assert arrow not in reachable([other for other in arrows if other != arrow])


@settings(deadline=None, max_examples=50)
@given(needs=GRAPHS)
@example(needs=steps.NEEDS)
def test_every_step_is_a_box_that_holds_its_name_and_touches_no_other(needs: Graph) -> None:
    drawn = read(procedure(needs))
    spots = shown(drawn)
    assert sorted(spots) == sorted(name.replace("_", " ") for name in needs)
    for spot, lines in boxes(drawn.findall(f"{SVG}g")[0]):
        assert within(spot, (0, 0, *canvas(drawn)[2:]))
        for line in lines:
            assert within(extent(line, 20, sans), spot)
    for one, other in itertools.combinations(spots.values(), 2):
        assert not overlap(one, other)


@settings(deadline=None, max_examples=50)
@given(needs=GRAPHS)
@example(needs=steps.NEEDS)
def test_what_is_needed_stands_above_and_no_edge_runs_through_a_box(needs: Graph) -> None:
    drawn = read(procedure(needs))
    spots = shown(drawn)
    for above, below in joined(drawn):
        assert spots[above][3] < spots[below][1]
    for points in runs(drawn):
        for (x, y), (nx, ny) in itertools.pairwise(points):
            assert y < ny
            spanned = (min(x, nx) - 4, y + 0.3, max(x, nx) + 4, ny - 0.3)
            assert not any(overlap(spanned, spot) for spot in spots.values())


@settings(deadline=None, max_examples=50)
@given(needs=GRAPHS)
def test_no_two_edges_of_a_procedure_lie_upon_each_other_in_a_row(needs: Graph) -> None:
    upright = [
        (x, y, ny)
        for points in runs(read(procedure(needs)))
        for (x, y), (nx, ny) in itertools.pairwise(points[1:-1])
        if x == nx
    ]
    for (x, y, foot), (other, top, end) in itertools.combinations(upright, 2):
        assert abs(x - other) > 8 or foot <= top or end <= y


def test_the_experiments_steps_are_legible_on_a_telephone() -> None:
    drawn = read(procedure())
    _, _, width, _ = canvas(drawn)
    size = float(drawn.findall(f"{SVG}g")[0].get("font-size", "0"))
    assert 600 <= width <= 720
    assert size * 340 / width >= 9.5


def test_edges_of_a_tree_do_not_cross() -> None:
    tree = {"a": (), "b": ("a",), "c": ("a",), "e": ("c",), "f": ("b",), "g": ("c",), "h": ("b",)}
    spots = shown(read(procedure(tree)))
    assert (spots["b"] < spots["c"]) == (spots["f"] < spots["e"]) == (spots["h"] < spots["g"])


def test_steps_that_only_others_name_are_drawn_too() -> None:
    assert set(shown(read(procedure({"b": ("a",)})))) == {"a", "b"}


def test_steps_that_need_one_another_are_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"^steps need one another: \w -> \w -> \w$"):
        procedure({"a": ("b",), "b": ("a",)})


def test_a_procedure_says_in_words_what_comes_after_what() -> None:
    drawn = read(procedure({"lr_sweep": (), "both": ("lr_sweep",), "c": ("lr_sweep", "both")}))
    told = drawn.findtext(f"{SVG}desc")
    assert (
        told == "lr sweep needs nothing before it. both comes after lr sweep. c comes after both."
    )


# Structograms


def defined(source: str, name: str = "tried") -> Callable[..., Any]:
    """Define a function whose source can be read."""
    file = f"<{name} {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    names: dict[str, Any] = {"__name__": "tests.made"}
    exec(compile(source, file, "exec"), names)
    found: Callable[..., Any] = names[name]
    return found


def drawn_of(*body: str, head: str = "def tried(a, b):") -> ET.Element:
    source = "\n".join([head, *(f"    {line}" for line in body)])
    return read(structogram(defined(source + "\n")))


def texts(drawn: ET.Element) -> list[str]:
    return [written(lines) for _, lines in boxes(drawn)]


def where(drawn: ET.Element, text: str) -> Place:
    [spot] = [spot for spot, lines in boxes(drawn) if written(lines) == text]
    return spot


def squeezed(text: str) -> str:
    return "".join(text.split())


SIMPLE = st.sampled_from(
    [
        "pass",
        "x = 1",
        "return",
        "return a, b",
        "raise ValueError(f'{a} <&> {b!r}')",
        "x: list[int] = []",
        "del a",
        "assert a < b and b > a, 'a  b'",
        "summed_over_everything += some_function(a[0] + 1, b[a[1] + 2], 'ÄÖ 語語語語語語')",
        f"{'long_name' * 9} = {'other' * 20}",
    ]
)
HEADS = ["if a < b:", "for x in range(a):", "while a and b:", "with open(a) as x:", "else"]


def indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def compound(inner: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
    body = st.lists(inner, min_size=1, max_size=3).map(lambda parts: list(itertools.chain(*parts)))
    single = st.tuples(st.sampled_from(HEADS[:4]), body).map(
        lambda two: [two[0], *indented(two[1])]
    )
    either = st.tuples(st.sampled_from(HEADS[:3]), body, body).map(
        lambda three: [three[0], *indented(three[1]), "else:", *indented(three[2])]
    )
    tried = st.tuples(body, body).map(
        lambda two: ["try:", *indented(two[0]), "except OSError as x:", *indented(two[1])]
    )
    return single | either | tried


BODIES = st.lists(
    st.recursive(SIMPLE.map(lambda line: [line]), compound, max_leaves=12), min_size=1, max_size=4
).map(lambda parts: list(itertools.chain(*parts)))


@settings(deadline=None, max_examples=50)
@given(body=BODIES)
def test_every_block_holds_its_text_and_blocks_lie_within_or_beside_each_other(
    body: list[str],
) -> None:
    drawn = drawn_of(*body)
    whole = (0.0, 0.0, *canvas(drawn)[2:])
    for spot, lines in boxes(drawn):
        for line in lines:
            assert within(extent(line, 18, mono), spot)
    spots = [place(rect) for rect in drawn.iter(f"{SVG}rect")]
    for one, other in itertools.combinations(spots, 2):
        assert within(one, whole)
        assert not overlap(one, other) or within(one, other) or within(other, one)
    held = [spot for spot, _ in boxes(drawn)]
    for one, other in itertools.combinations(held, 2):
        assert not overlap(one, other)


@settings(deadline=None, max_examples=50)
@given(body=BODIES)
def test_a_structogram_holds_every_statement_in_the_order_of_the_code(body: list[str]) -> None:
    tree = ast.parse("\n".join(body))
    expected = []
    for line in ast.unparse(tree).splitlines():
        code = line.strip().removesuffix(":").removeprefix("if ").removeprefix("elif ")
        code = code.replace(": list[int]", "").replace("return (a, b)", "return a, b")
        expected.append(squeezed(code))
    branching = {"else"}  # of an `if`, it is a column
    found = [squeezed(text) for text in texts(drawn_of(*body))][1:]
    assert [t for t in found if t not in branching] == [t for t in expected if t not in branching]


def test_the_first_row_names_the_function_and_what_it_takes() -> None:
    head = "def tried(a: int, /, b: str = 'x', *c: int, d: float = 1.0, e, **f) -> None:"
    assert texts(drawn_of("'''A docstring.'''", "return a", head=head)) == [
        "tried(a, /, b, *c, d, e, **f)",
        "return a",
    ]


def test_the_branch_that_holds_is_on_the_left_and_both_are_equally_high() -> None:
    drawn = drawn_of("if a < b:", "    x = 1", "    y = 2", "else:", "    z = 3", "w = 4")
    yes, then, no = (where(drawn, text) for text in ("x = 1", "y = 2", "z = 3"))
    condition, after = where(drawn, "a < b"), where(drawn, "w = 4")
    assert yes[2] <= no[0] + 0.1
    assert condition[3] < yes[1] == no[1]
    assert then[3] == pytest.approx(no[3], abs=0.15) == pytest.approx(after[1], abs=0.15)
    labels = {line.text: float(line.get("x", "nan")) for line in drawn.iter(f"{SVG}text")}
    assert labels["yes"] < labels["no"]


def test_what_is_repeated_stands_within_its_frame() -> None:
    drawn = drawn_of("for x in a:", "    while b:", "        y = x", "z = 1")
    outer, inner = where(drawn, "for x in a"), where(drawn, "while b")
    repeated, after = where(drawn, "y = x"), where(drawn, "z = 1")
    assert outer[0] < inner[0] < repeated[0]
    assert outer[2] == pytest.approx(inner[2], abs=0.15) == pytest.approx(repeated[2], abs=0.15)
    assert after[0] == outer[0]


@pytest.mark.parametrize(
    ("body", "heads"),
    [
        (["try:", "    x = 1", "except OSError:", "    y = 2", "finally:", "    z = 3"], 3),
        (["match a:", "    case [1, x] if x:", "        y = 2", "    case _:", "        z = 3"], 3),
        (["while a:", "    x = 1", "else:", "    y = 2"], 2),
        (["def inner(x=1):", "    '''Doc.'''", "    return x"], 1),
        (["class Inner(a):", "    x = 1"], 1),
    ],
)
def test_every_kind_of_statement_is_drawn_without_its_docstring(
    body: list[str], heads: int
) -> None:
    said = [text.strip().removesuffix(":") for text in body if "Doc" not in text]
    drawn = drawn_of(*body)
    assert texts(drawn)[1:] == said
    simple = [text for text in said if text.startswith(("x =", "y =", "z =", "return"))]
    assert len(said) - len(simple) == heads
    assert all(where(drawn, text)[0] > where(drawn, said[0])[0] for text in simple)


def test_only_what_leaves_is_marked() -> None:
    def marks(*body: str) -> int:
        return sum(
            "--accent" in path.get("style", "") for path in drawn_of(*body).iter(f"{SVG}path")
        )

    assert marks("x = 1", "a(b)", "pass") == 0
    assert marks("return a") == marks("raise a") == 1
    assert marks("for x in a:", "    break") == marks("for x in a:", "    continue") == 1


def test_a_structogram_says_in_words_what_it_shows() -> None:
    drawn = drawn_of("if a < b:", "    return a", "else:", "    x = 1", "for y in b:", "    x += y")
    assert drawn.findtext(f"{SVG}title") == "The algorithm of tried"
    told = drawn.findtext(f"{SVG}desc")
    assert told == "tried(a, b). If a < b: (return a.) Otherwise: (x = 1.) for y in b: (x += y.)"


class Holder:
    @staticmethod
    def method(a: int) -> int:
        return a + 1


def test_a_method_can_be_drawn() -> None:
    assert texts(read(structogram(Holder.method))) == ["method(a)", "return a + 1"]


@pytest.mark.parametrize("function", [lambda x: x, len, Holder])
def test_what_has_no_statements_to_draw_is_refused_by_name(function: Callable[..., Any]) -> None:
    with pytest.raises(InputError, match=re.escape(function.__name__)):
        structogram(function)


def test_the_detection_of_the_batch_sizes_is_drawn_whole_and_with_few_broken_lines() -> None:
    drawn = read(structogram(bounds.stretch_that_holds))
    rows = texts(drawn)
    assert rows[0].startswith("stretch_that_holds(sizes, accuracies, learned,")
    assert "drops[j] = 100 * (before - after) / after" in rows
    assert "drops[j] <= threshold and (stretch == 'outer' or not broken)" in rows
    assert rows[-1] == "return drops, inside[0], inside[-1]"
    assert canvas(drawn)[2] <= 720
    assert sum(len(lines) > 1 for _, lines in boxes(drawn)) <= 3


# Both


@pytest.mark.parametrize("draw", [procedure, lambda: structogram(bounds.stretch_that_holds)])
def test_a_picture_follows_the_page_and_is_told_to_those_who_cannot_see_it(
    draw: Callable[[], str],
) -> None:
    picture = draw()
    assert picture == draw()
    drawn = read(picture)
    assert drawn.get("role") == "img"
    identities = [found.get("id") for found in drawn.iter() if found.get("id")]
    assert len(set(identities)) == len(identities)
    assert set(drawn.get("aria-labelledby", "").split()) <= set(identities)
    assert set(re.findall(r"url\(#(.*?)\)", picture)) <= set(identities)
    colours = re.findall(r'(?:fill|stroke)="([^"]*)"', picture)
    assert set(colours) == {"none", "currentColor"}
    assert not re.search(r"<script|href|@import|#[0-9a-fA-F]{3,6}\b", picture)


def test_two_pictures_on_a_page_share_no_id_when_they_are_told_apart() -> None:
    def identities(picture: str) -> set[str]:
        return set(re.findall(r'id="([^"]*)"', picture))

    one, other = procedure(identity="one"), procedure(identity="other")
    assert identities(one).isdisjoint(identities(other))
    assert set(re.findall(r"url\(#(.*?)\)", other)) == {"other-arrow"}
    drawn = structogram(bounds.stretch_that_holds)
    assert identities(drawn).isdisjoint(identities(one))
    assert identities(structogram(bounds.stretch_that_holds, "own")) == {"own-title", "own-desc"}
