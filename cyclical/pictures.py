"""Pictures that lie encoded, as PNG or JPEG say, decoded into one array."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cyclical.errors import InputError, one_line

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY = {"1", "L", "LA"}
COLOURED = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr"}


def is_one(file: Path) -> bool:
    """Tell by its name whether a file is a picture."""
    return file.suffix.lower() in SUFFIXES


def decoded(
    encoded: Sequence[tuple[str, bytes | Path]], before: Callable[[str, int], None]
) -> NDArray[np.uint8]:
    """Decode pictures of one size: grey ones, or all in colour where any is.

    Args:
        encoded: Each with the name by which an error calls it.
        before: Called with the first one's name and the bytes that all will take.

    Returns:
        Of shape (n, height, width, 1 or 3).

    Raises:
        InputError: A picture can't be read, is of another size, or has more than 8 bits a channel.
    """
    first, size, channels = "", (0, 0), 1
    for name, content in encoded:
        with _opened(name, content) as picture:
            first, size = (first, size) if first else (name, picture.size)
            if picture.size != size:
                there, here = (f"{width}x{height}" for width, height in (size, picture.size))
                raise InputError(f"{name} is of {here} pixels, {first} of {there}: make them equal")
            if picture.mode not in GREY | COLOURED:
                raise InputError(f"{name} is of the mode {picture.mode}: convert it to 8 bits")
            channels = max(channels, 3 if picture.mode in COLOURED else 1)
    shape = (len(encoded), size[1], size[0], channels)
    before(first, int(np.prod(shape)))
    images = np.empty(shape, np.uint8)
    for number, (name, content) in enumerate(encoded):
        with _opened(name, content) as picture:
            try:
                values = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
            except (OSError, ValueError, SyntaxError) as error:
                raise _unreadable(name, error) from error
            images[number] = values.reshape(shape[1:])
    return images


def _opened(name: str, content: bytes | Path) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(name, error) from error


def _unreadable(name: str, error: BaseException) -> InputError:
    return InputError(f"{name} can't be read as a picture ({one_line(error)})")
