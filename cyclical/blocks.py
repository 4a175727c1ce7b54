"""From a function's code to the blocks of a structogram, and where they stand."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from cyclical import svg
from cyclical.errors import InputError

CODE = 18.0  # the font's size
WORD = 15.0  # that of `yes` and `no`
PAD = 8.0
NOTCH = 14.0
INSET = 26.0  # of what a frame holds
FUNNEL = 37.0  # the height between a condition and its branches
NARROWEST = 14  # characters of code on a line
INDENT = "  "
BLANK = 56.0  # the least width of a branch in which nothing is done
TEXT = 'fill="currentColor" stroke="none"'
EXITS = (ast.Return, ast.Raise, ast.Break, ast.Continue)


@dataclass(frozen=True)
class Area:
    """Where a block stands: its upper left corner and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Line:
    """A statement; `leaves` where the function or a loop ends with it."""

    code: str
    leaves: bool = False
    heads: bool = False


@dataclass(frozen=True)
class Frame:
    """What is repeated, or done within something."""

    head: str
    body: Sequence["Block"]


@dataclass(frozen=True)
class Choice:
    """A condition, what is done where it holds, and what where it does not."""

    condition: str
    yes: Sequence["Block"]
    no: Sequence["Block"]


Block = Line | Frame | Choice


def of_function(function: Callable[..., Any]) -> tuple[str, list[Block]]:
    """Read a function's name and its blocks; the first is its head, its docstring is left out.

    Raises:
        InputError: Its code can't be read, or it was not defined with `def`.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError) as error:
        raise InputError(f"the code of {name} can't be read: {error}") from error
    [first, *_] = tree.body
    if not isinstance(first, ast.FunctionDef | ast.AsyncFunctionDef) or first.name != name:
        raise InputError(f"{name} was not defined with `def`, so it has no statements to draw")
    head = Line(f"{first.name}({ast.unparse(_bare(first.args))})", heads=True)
    return first.name, [head, *_blocks(_without_docstring(first.body))]


def _bare(arguments: ast.arguments) -> ast.arguments:
    """Return arguments without annotations and defaults."""

    def names(those: Sequence[ast.arg]) -> list[ast.arg]:
        return [ast.arg(one.arg) for one in those]

    return ast.arguments(
        posonlyargs=names(arguments.posonlyargs),
        args=names(arguments.args),
        vararg=arguments.vararg and ast.arg(arguments.vararg.arg),
        kwonlyargs=names(arguments.kwonlyargs),
        kw_defaults=[None] * len(arguments.kwonlyargs),
        kwarg=arguments.kwarg and ast.arg(arguments.kwarg.arg),
        defaults=[],
    )


def _without_docstring(body: Sequence[ast.stmt]) -> Sequence[ast.stmt]:
    match body:
        case [ast.Expr(ast.Constant(str())), *rest]:
            return rest
        case _:
            return body


def _blocks(statements: Sequence[ast.stmt]) -> list[Block]:
    return [block for statement in statements for block in _of(statement)]


def _of(statement: ast.stmt) -> Iterator[Block]:
    match statement:
        case ast.If(test, body, orelse):
            yield Choice(ast.unparse(test), _blocks(body), _blocks(orelse))
        case ast.Match(subject, cases):
            framed = [Frame(_head(case), _blocks(case.body)) for case in cases]
            yield Frame(f"match {ast.unparse(subject)}", framed)
        case ast.Try() | ast.TryStar():
            yield from _tried(statement)
        case ast.AnnAssign(target, _, value):
            if value is not None:
                yield Line(f"{ast.unparse(target)} = {ast.unparse(value)}")
        case _ if hasattr(statement, "body"):
            yield from _framed(statement)
        case _:
            yield Line(_code(statement), isinstance(statement, EXITS))


def _tried(statement: ast.Try | ast.TryStar) -> Iterator[Block]:
    yield Frame("try", _blocks(statement.body))
    for handler in statement.handlers:
        yield Frame(_head(handler), _blocks(handler.body))
    for word, body in (("else", statement.orelse), ("finally", statement.finalbody)):
        if body:
            yield Frame(word, _blocks(body))


def _framed(statement: ast.stmt) -> Iterator[Block]:
    fields = vars(statement)
    yield Frame(_head(statement), _blocks(_without_docstring(fields["body"])))
    if fields.get("orelse"):
        yield Frame("else", _blocks(fields["orelse"]))


def _head(node: ast.AST) -> str:
    """Return what stands before a compound statement's colon."""
    emptied: dict[str, Any] = {**vars(node), "body": []}
    if "orelse" in emptied:
        emptied["orelse"] = []
    return _code(type(node)(**emptied)).removesuffix(":")


def _code(node: ast.AST) -> str:
    match node:
        case ast.Return(ast.Tuple([_, _, *_] as parts)):
            return f"return {', '.join(map(ast.unparse, parts))}"
        case _:
            return " ".join(filter(None, map(str.strip, ast.unparse(node).splitlines())))


def told(blocks: Sequence[Block]) -> str:
    """Say in words what the blocks do."""
    return " ".join(map(_told, blocks))


def _told(block: Block) -> str:
    match block:
        case Line(code):
            return f"{code}."
        case Frame(head, body):
            return f"{head}: ({told(body)})"
        case Choice(condition, yes, no):
            otherwise = f" Otherwise: ({told(no)})" if no else ""
            return f"If {condition}: ({told(yes)}){otherwise}"


def wrapped(code: str, columns: int) -> list[str]:
    """Break code where the fewest brackets are open, the latest such place first.

    >>> wrapped("total = first[j + 1] + second[j + 1]", 22)
    ['total = first[j + 1] +', '  second[j + 1]']
    """
    found: list[str] = []
    indent = ""
    while len(indent + code) > columns:
        room = columns - len(indent)
        places = [place for place in range(room // 3, room + 1) if code[place] == " "]
        depths = {place: _depth(code[:place]) for place in places}
        after_marks = max(code.rfind(mark, room // 3, room) for mark in "([{,.") + 1
        unspaced = after_marks or room
        cut = min(places, key=lambda place: (depths[place], -place), default=unspaced)
        found.append(indent + code[:cut].rstrip())
        code, indent = code[cut:].lstrip(), INDENT
    return [*found, indent + code]


def _depth(code: str) -> int:
    return sum((letter in "([{") - (letter in ")]}") for letter in code)


def _wide(code: str) -> float:
    return svg.ems(code, mono=True) * CODE


def _lines(code: str, width: float) -> list[str]:
    wide = max((svg.ems(letter, mono=True) for letter in code), default=1.0)
    return wrapped(code, max(len(INDENT) + 1, int(width / (wide * CODE))))


def _text_height(code: str, width: float) -> float:
    return len(_lines(code, width)) * svg.LINE * CODE + 2 * PAD


def least(blocks: Sequence[Block]) -> float:
    """Return the width below which the blocks are not drawn."""
    return max(map(_least, blocks), default=BLANK)


def _least(block: Block) -> float:
    match block:
        case Line(code, leaves):
            return _narrowest(code) + NOTCH * leaves
        case Frame(head, body):
            return max(_narrowest(head), INSET + least(body))
        case Choice(condition, yes, no):
            return max(_narrowest(condition), least(yes) + least(no))


def _around(line: Line) -> float:
    return 2 * PAD + NOTCH * line.leaves


def _narrowest(code: str) -> float:
    return _wide(code[:NARROWEST].ljust(4, "m")) + 2 * PAD


def _preferred(blocks: Sequence[Block]) -> float:
    """Return the width in which no line would be broken."""
    widths = [BLANK]
    for block in blocks:
        match block:
            case Line(code):
                widths.append(_wide(code) + _around(block))
            case Frame(head, body):
                widths.append(max(_wide(head) + 2 * PAD, INSET + _preferred(body)))
            case Choice(condition, yes, no):
                both = _preferred(yes) + _preferred(no)
                widths.append(max(_wide(condition) + 2 * PAD, both))
    return max(widths)


def _share(choice: Choice, width: float) -> float:
    """Return how wide the left branch is: what is spare goes where lines would be broken."""
    needed = least(choice.yes), least(choice.no)
    wished = [
        max(0.0, _preferred(branch) - base)
        for branch, base in zip((choice.yes, choice.no), needed, strict=True)
    ]
    spare = width - sum(needed)
    if not choice.no:
        return needed[0] + spare
    given = min(wished[0], max(spare / 2, spare - wished[1]))
    left_over = max(0.0, spare - sum(wished)) / 2
    return needed[0] + given + left_over


def height(blocks: Sequence[Block], width: float) -> float:
    """Return how high the blocks are, one below the other, in that width."""
    return sum(_height(block, width) for block in blocks)


def _height(block: Block, width: float) -> float:
    match block:
        case Line(code):
            return _text_height(code, width - _around(block))
        case Frame(head, body):
            return _text_height(head, width - 2 * PAD) + height(body, width - INSET)
        case Choice(condition, yes, no):
            left = _share(block, width)
            branches = max(height(yes, left), height(no, width - left))
            return _text_height(condition, width - 2 * PAD) + FUNNEL + branches


def draw(blocks: Sequence[Block], area: Area) -> Iterator[str]:
    """Draw the blocks one below the other; the last takes what height is left."""
    top, bottom = area.y, area.y + area.height
    if not blocks:
        yield f"<g>{svg.rect(area.x, area.y, area.width, area.height, svg.PANEL)}</g>"
    for block in blocks:
        own = _height(block, area.width) if block is not blocks[-1] else bottom - top
        yield from _drawn(block, Area(area.x, top, area.width, own))
        top += own


def _drawn(block: Block, area: Area) -> Iterator[str]:
    match block:
        case Line():
            yield _line(block, area)
        case Frame(head, body):
            top = _text_height(head, area.width - 2 * PAD)
            held = Area(area.x + INSET, area.y + top, area.width - INSET, area.height - top)
            bar = svg.rect(area.x, held.y, INSET, held.height, svg.TINT)
            outline = svg.rect(area.x, area.y, area.width, area.height)
            yield f"{_headed(head, area, top)}{bar}{outline}"
            yield from draw(body, held)
        case Choice():
            yield from _choice(block, area)


def _line(line: Line, area: Area) -> str:
    code = _lines(line.code, area.width - _around(line))
    weight = 'font-weight="600"' if line.leaves or line.heads else 'font-weight="400"'
    edge = svg.rect(area.x, area.y, area.width, area.height, svg.PANEL)
    notch = ""
    if line.leaves:
        x, right = map(svg.number, (area.x, area.x + NOTCH))
        levels = (area.y, area.y + area.height / 2, area.y + area.height)
        top, middle, bottom = map(svg.number, levels)
        steps = f"M{x} {top}H{right}L{svg.number(area.x + 4)} {middle}L{right} {bottom}H{x}Z"
        notch = svg.path(steps, svg.ACCENT)
    left = area.x + PAD + NOTCH * line.leaves
    return f"<g>{edge}{notch}{svg.lines(code, left, area.y + PAD, CODE, TEXT, weight)}</g>"


def _headed(code: str, area: Area, height: float) -> str:
    tinted = svg.rect(area.x, area.y, area.width, height, svg.TINT)
    text = svg.lines(_lines(code, area.width - 2 * PAD), area.x + PAD, area.y + PAD, CODE, TEXT)
    return f"<g>{tinted}{text}</g>"


def _choice(choice: Choice, area: Area) -> Iterator[str]:
    above = _text_height(choice.condition, area.width - 2 * PAD)
    top, bottom = area.y + above, area.y + above + FUNNEL
    left = _share(choice, area.width)
    right = area.x + area.width
    numbers = map(svg.number, (area.x, top, area.x + left, bottom, right, top))
    funnel = "M{} {}L{} {}L{} {}".format(*numbers)
    outline = svg.rect(area.x, area.y, area.width, area.height)
    words = f'{TEXT} font-family="{svg.SANS}"'
    size = f'font-size="{WORD:g}"'
    level = bottom - WORD - 7
    yield _headed(choice.condition, area, above) + outline + svg.path(funnel)
    yield svg.lines(["yes"], area.x + PAD, level, WORD, words, size)
    yield svg.lines(["no"], right - PAD, level, WORD, words, size, 'text-anchor="end"')
    tall = area.y + area.height - bottom
    yield from draw(choice.yes, Area(area.x, bottom, left, tall))
    yield from draw(choice.no, Area(area.x + left, bottom, area.width - left, tall))
