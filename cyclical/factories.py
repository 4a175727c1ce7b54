"""Data that a Python function returns, Keras's loaders among them, called in a process of its own.

So what the function imports and holds in memory, TensorFlow say, goes when it has returned.

Run: `python -m cyclical.factories package.module:function OUT.npz`.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

from cyclical import user_code
from cyclical.errors import InputError, one_line

KERAS = {name: f"keras.datasets.{name}:load_data" for name in ("mnist", "cifar10", "cifar100")}
"""Data sets by the names of Keras's loaders, which download into Keras's cache."""
WAIT_SECONDS = 15.0  # for an answer from the network; Keras would wait for ever
ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def call(reference: str, target: Path) -> None:
    """Let a process of its own write what a function returns to `target`, an .npz file.

    Raises:
        InputError: The function can't be imported, fails, or returns something else.
    """
    command = [sys.executable, "-P", "-m", "cyclical.factories", reference, str(target)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    ran = subprocess.run(  # noqa: S603 (our own interpreter)
        command, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if ran.returncode:
        said = ran.stderr.strip().splitlines() or [f"exit status {ran.returncode}"]
        told = said[-1].removeprefix(reference).removeprefix(": ").strip()
        raise InputError(f"data.name {reference}: {told}")


def _write(reference: str, target: Path) -> None:
    """Call the function; write the four arrays, and the names of the classes if it gives them."""
    socket.setdefaulttimeout(WAIT_SECONDS)
    function = user_code.load(reference)
    try:
        returned = function()
    except Exception as error:
        raise InputError(f"{reference} failed ({one_line(error)})") from error
    try:
        (x_train, y_train), (x_test, y_test), *names = returned
    except (TypeError, ValueError):
        raise InputError(
            f"{reference} must return ((x_train, y_train), (x_test, y_test)), and the names of the "
            f"classes after them if they have any, but returned {type(returned).__name__}"
        ) from None
    arrays = dict(zip(ARRAYS, map(np.asarray, (x_train, y_train, x_test, y_test)), strict=True))
    if names:
        arrays["class_names"] = np.asarray(names[0], dtype=str)
    np.savez(target, **arrays)  # type: ignore[arg-type]


def main() -> None:
    """Write the data, or end with a line."""
    reference, target = sys.argv[1:]
    try:
        _write(reference, Path(target))
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
