"""Bring Fashion-MNIST onto this machine: what `make data` does.

Two ways are tried, so that either network will do: Keras's download, then Debian's package.
Whatever arrives is checked like any other source before it is moved into place.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from cyclical import idx
from cyclical.errors import InputError
from cyclical.fashion_mnist import check, find_source
from cyclical.idx import FILES, REMEDY, UInt8, to_idx

PACKAGE = "dataset-fashion-mnist"
KERAS_TIMEOUT_SECONDS = 15.0
APT_UPDATE_TIMEOUT_SECONDS = 60.0
APT_DOWNLOAD_TIMEOUT_SECONDS = 180.0
DPKG_TIMEOUT_SECONDS = 60.0


def fetch(target: Path) -> Path:
    """Return a folder of valid Fashion-MNIST files, downloaded into `target` if need be.

    A valid source that `find_source` answers with is returned as it is. A damaged one is passed
    over: `data/fashion-mnist` as target replaces it, since that is where `load` looks first.

    Args:
        target: The folder to fill; made where it is missing. Its parent must be writable.

    Raises:
        InputError: Nothing is found and every download failed; the line has every reason.
    """
    target = target.absolute()
    routes: dict[str, Callable[[], Path]] = {
        "on this machine": lambda: _checked(find_source(None)),
        "Keras's download": lambda: _download(_by_keras, target),
        f"Debian's package {PACKAGE}": lambda: _download(_by_debian, target),
    }
    reasons = []
    for name, route in routes.items():
        try:
            return route()
        except InputError as error:
            reasons.append(f"{name}: {str(error).removesuffix(f': {REMEDY}')}")
    raise InputError(
        f"Fashion-MNIST could not be fetched ({'; '.join(reasons)}): with a network, {REMEDY}"
    )


def _checked(folder: Path) -> Path:
    """Return the folder if its files are Fashion-MNIST's to the bit, else raise InputError."""
    check(idx.read_all(folder), wanted=True)
    return folder


def _download(fill: Callable[[Path], Path], target: Path) -> Path:
    """Let `fill` download into a temporary folder beside the target; move what it returns."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as workspace:
            return _moved(_checked(fill(Path(workspace))), target)
    except OSError as error:
        raise InputError(_one_line(error)) from error


def _moved(source: Path, target: Path) -> Path:
    """Move the four files, each in one step, and drop the old twin of the other form."""
    target.mkdir(exist_ok=True)
    for name in FILES:
        for form in (f"{name}.gz", name):
            if (source / form).exists():
                (source / form).replace(target / form)
            else:
                (target / form).unlink(missing_ok=True)
    return target


def _by_keras(workspace: Path) -> Path:
    """Write what Keras downloads, or has in its cache, as raw IDX files.

    Keras puts its cache into /tmp where the home is not writable, so its files are not looked
    for: the arrays hold every byte of them.
    """
    for name, values in zip(FILES, _keras_arrays(), strict=True):
        (workspace / name).write_bytes(to_idx(values))
    return workspace


def _keras_arrays() -> tuple[UInt8, ...]:
    """Return Keras's arrays in the order of `FILES`, or raise InputError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(KERAS_TIMEOUT_SECONDS)  # Keras sets none and would wait for ever
    try:
        import keras

        train, test = keras.datasets.fashion_mnist.load_data()
        return (*train, *test)
    except Exception as error:  # Keras raises a bare Exception where the network fails
        raise InputError(_one_line(error)) from error
    finally:
        socket.setdefaulttimeout(before)


def _by_debian(workspace: Path) -> Path:
    """Download Debian's package and unpack it, neither of which needs root."""
    apt_get, dpkg = _program("apt-get"), _program("dpkg")
    own = _own_lists(workspace)
    strictly = ("-o", "APT::Update::Error-Mode=any")  # a mirror out of reach is else no failure
    update = _failure(workspace, APT_UPDATE_TIMEOUT_SECONDS, apt_get, "update", *own, *strictly)
    download = _failure(workspace, APT_DOWNLOAD_TIMEOUT_SECONDS, apt_get, "download", PACKAGE, *own)
    if download:
        raise InputError(f"{download}, {update}" if update else download)
    unpack = ("-x", *map(str, workspace.glob(f"{PACKAGE}_*.deb")), "unpacked")
    if failure := _failure(workspace, DPKG_TIMEOUT_SECONDS, dpkg, *unpack):
        raise InputError(failure)
    return workspace / "unpacked/usr/share/datasets/fashion-mnist"


def _own_lists(workspace: Path) -> list[str]:
    """Return options that keep apt's lists in the workspace: the system's are root's to write."""
    places = {"Dir::State::lists": workspace / "lists", "Dir::Cache": workspace / "cache"}
    for partial in ("lists/partial", "cache/archives/partial"):
        (workspace / partial).mkdir(parents=True)
    return [word for name, place in places.items() for word in ("-o", f"{name}={place}")]


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise InputError(f"there is no {name} on this machine")
    return path


def _failure(folder: Path, timeout_seconds: float, *command: str) -> str | None:
    """Run a command in a folder, quietly; return why it failed in one line, None if it did not."""
    name = f"`{Path(command[0]).name} {command[1]}`"
    try:
        subprocess.run(  # noqa: S603 - an absolute path and constant arguments, no shell
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_seconds,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return f"{name} took more than {timeout_seconds:g} s"
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        return f"{name} failed: {_one_line(said[-1])}"
    return None


def _one_line(message: object) -> str:
    return " ".join(str(message).split())
