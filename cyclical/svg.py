"""Inline SVG that follows the page's theme: text that fits, boxes, and the frame of a picture.

Lines and text take the page's colour, boxes `--panel` and marks `--accent` where the page sets
them. The same content gives the same bytes.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from xml.sax.saxutils import escape, quoteattr

SANS = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
LINE = 1.3  # from one line of text to the next, in em
NO_BREAK = "\N{NO-BREAK SPACE}" * 2  # two blanks that a browser does not make one
PANEL = 'style="fill:var(--panel, none)"'
TINT = 'fill="currentColor" fill-opacity="0.08" stroke="none"'
ACCENT = 'style="fill:var(--accent, currentColor)" stroke="none"'


def ems(text: str, mono: bool = False) -> float:
    """Return the width of a text in em, rather too much than too little.

    >>> round(ems("for", mono=True), 2), ems("W"), ems("語")
    (1.86, 1.0, 1.05)
    """
    return sum(_em(character, mono) for character in text)


def _em(character: str, mono: bool) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 1.24 if mono else 1.05
    if mono:
        return 0.62
    if character in " ijltfr.,:;'|!()[]":
        return 0.42
    if character in "mMW@%" or not character.isascii():
        return 1.0
    return 0.64 if character in "abcdeghknopqsuvxyz0123456789" else 0.84


def number(value: float) -> str:
    """Write a length as short as a tenth of a pixel allows.

    >>> number(12.04), number(0.26)
    ('12', '0.3')
    """
    return f"{round(value, 1):g}" if abs(value) < 1e5 else str(round(value))


def lines(texts: Sequence[str], x: float, top: float, size: float, *extra: str) -> str:
    """Write lines of text one below the other.

    Args:
        texts: The lines.
        x: Where they stand, by default their left end.
        top: The upper edge of the first.
        size: The font size.
        extra: Further attributes of each, such as `text-anchor="middle"`.
    """
    attributes = "".join(f" {one}" for one in extra)
    return "".join(
        f'<text x="{number(x)}" y="{number(top + size * (LINE * index + 1))}"{attributes}>'
        f"{legal(text.replace('  ', NO_BREAK))}</text>"
        for index, text in enumerate(texts)
    )


def rect(x: float, y: float, width: float, height: float, *extra: str) -> str:
    """Draw a rectangle."""
    places = zip(("x", "y", "width", "height"), (x, y, width, height), strict=True)
    attributes = [f'{name}="{number(value)}"' for name, value in places]
    return f"<rect {' '.join([*attributes, *extra])}/>"


def path(steps: str, *extra: str) -> str:
    """Draw a path."""
    attributes = "".join(f" {one}" for one in extra)
    return f'<path d="{steps}"{attributes}/>'


def picture(
    identity: str, title: str, told: str, size: tuple[float, float], parts: Iterable[str]
) -> str:
    """Put a picture together; it is as wide as there is room, at most its own size.

    Args:
        identity: What the ids in it begin with: one of its own for each picture of a page.
        title: What it is.
        told: What it shows, in words, for those who can't see it.
        size: Its width and height.
        parts: The elements.
    """
    width, height = map(number, size)
    names = f"{identity}-title {identity}-desc"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="100%" '
        f'role="img" aria-labelledby={quoteattr(names)} fill="none" stroke="currentColor" '
        f'stroke-width="1.5" style="display:block;max-width:{width}px;height:auto;'
        'margin-inline:auto;break-inside:avoid">'
    )
    what = f"<title id={quoteattr(f'{identity}-title')}>{legal(title)}</title>"
    words = f"<desc id={quoteattr(f'{identity}-desc')}>{legal(told)}</desc>"
    return "\n".join([head, what, words, *parts, "</svg>\n"])


def legal(text: str) -> str:
    """Escape a text; what XML has no way to write becomes a question mark.

    >>> legal("a < b & c" + chr(0))
    'a &lt; b &amp; c?'
    """
    return escape(re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text))
