"""The errors that are told in one line."""

import re
import textwrap

COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # Keras's messages have them


class RunError(Exception):
    """Say in one line what failed although the input was right, and how to go on.

    The command prints the message and ends with exit status 1.
    """


class InputError(ValueError):
    """Say in one line what is wrong with the input, where, and how to mend it.

    The command prints the message and ends with exit status 2; every other exception is a defect
    of this project and keeps its traceback.
    """


def one_line(error: BaseException) -> str:
    r"""Name any exception on one line, cut short where it is long.

    >>> one_line(ValueError("2 errors:\n  one\n  two"))
    'ValueError: 2 errors: one two'
    """
    said = COLOURS.sub("", str(error))
    return f"{type(error).__name__}: {textwrap.shorten(said, 300, placeholder=' ...')}"
