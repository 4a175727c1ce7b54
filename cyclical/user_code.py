"""Functions of the user's own, named `package.module:function`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cyclical.errors import InputError, one_line


def load(reference: str) -> Callable[..., Any]:
    """Import the function that a reference names; the current directory is looked at last.

    Args:
        reference: `package.module:function`.

    Raises:
        InputError: The module can't be imported, or holds no such function.
    """
    module, _, name = reference.partition(":")
    look_here()
    try:
        function = getattr(importlib.import_module(module), name, None)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{reference}: {module} can't be imported ({one_line(error)}); modules are looked for "
            f"among the installed ones and in {Path.cwd()}"
        ) from error
    if not callable(function):
        what = "nothing of that name" if function is None else f"{name}, which is no function"
        raise InputError(f"{reference}: {module} holds {what}")
    return function  # type: ignore[no-any-return]


def look_here() -> None:
    """Let modules of the current directory be imported, after all others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
