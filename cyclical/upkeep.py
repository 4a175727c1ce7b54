"""Looking after a store: check all that lies in it, and clear away what nobody refers to.

Both may go on beside runs: what is being written is left alone, and so is all that a live run uses.
"""

import fcntl
import json
import re
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cyclical import checkpoints, files, ledger, results
from cyclical.errors import InputError, one_line
from cyclical.files import Blob
from cyclical.ledger import Header
from cyclical.manifests import KEY_CHARACTERS, MANIFEST, Artifact, DamagedError, OtherVersionError
from cyclical.steps import NEEDS
from cyclical.store import CHECKPOINTS, RECORDS, RUNS, Store

NAME = re.compile(rf"[\w.=+,-]+-[0-9a-f]{{{KEY_CHARACTERS}}}")
KEPT_RUNS = 10


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be; `path` is relative to the store."""

    path: str
    what: str


@dataclass(frozen=True)
class Removal:
    """Something that nobody refers to: its path relative to the store, its size in bytes."""

    path: str
    why: str
    bytes: int


def results_in(store: Store) -> list[str]:
    """List the folders of all results, also of those that are damaged."""
    paths = (path for step in sorted(NEEDS) for path in store.paths(step))
    return [path for path in paths if NAME.fullmatch(path.rpartition("/")[2])]


def verify(store: Store) -> list[Finding]:
    """Check every result of a store, and the files beside them: records, checkpoints, runs.

    What a live run uses is left out: it may be writing it.

    Raises:
        InputError: There is no store.
    """
    _exists(store)
    with ledger.locked(store.root, fcntl.LOCK_SH):  # nothing is cleared away meanwhile
        return _findings(store)


def discard(store: Store, findings: Iterable[Finding]) -> None:
    """Take what is still damaged out of the way, so that the next run makes it anew.

    Of an artifact only the manifest goes: it is what says that there is one. The record of the
    latest run stays, as long as it can be read: it tells what is to be computed again.
    """
    paths = {finding.path for finding in findings}
    with ledger.locked(store.root, fcntl.LOCK_EX):
        for finding in _findings(store):
            if finding.path in paths and not (finding.path == results.LATEST and _is_told(store)):
                if _is_result(finding.path):
                    store.discard(finding.path)
                else:
                    store.remove(finding.path)


def _is_told(store: Store) -> bool:
    """Tell whether the record of the latest run can be read."""
    try:
        results.latest(store)
    except InputError:
        return False
    return True


def not_made_again(store: Store, findings: Iterable[Finding]) -> list[str]:
    """List the results that were damaged, were put away, and are not there now."""
    paths = {finding.path for finding in findings if _is_result(finding.path)}
    return sorted(path for path in paths if not store.blob(f"{path}/{MANIFEST}").read())


def to_repeat(store: Store, findings: Iterable[Finding]) -> list[Header]:
    """List the finished runs that used what is damaged, each question once, the latest last.

    The latest finished run of all comes at the end in any case, so that it is the latest again.
    """
    damaged = {finding.path for finding in findings}
    runs = [run for run in ledger.entries(store.root) if run.finished and not run.live]
    by_question: dict[str, tuple[Header, Collection[str]]] = {}
    for run in runs:
        if run.header:
            by_question.setdefault(run.header.question, (run.header, run.paths))
    newest_first = list(by_question.values())
    again = [header for header, paths in newest_first if damaged.intersection(paths)]
    latest = [header for header, _ in newest_first[:1]]
    if again or results.LATEST in damaged:
        again = latest + [header for header in again if header not in latest]
    return again[::-1]


def unreferenced(store: Store, last: int = KEPT_RUNS) -> list[Removal]:
    """List what no run refers to that is to be kept (see `ledger.kept`).

    Raises:
        InputError: There is no store, or it is not on this machine.
    """
    _is_here(store)
    with ledger.locked(store.root, fcntl.LOCK_SH):
        return _unreferenced(store, last)


def collect(store: Store, last: int = KEPT_RUNS) -> list[Removal]:
    """Remove what `unreferenced` lists, with nobody beginning to use it meanwhile; return it.

    Raises:
        InputError: There is no store, it can't be written, or it is not on this machine.
    """
    _is_here(store)
    store.ensure_writable()
    files.remove_abandoned(store.folders())
    with ledger.locked(store.root, fcntl.LOCK_EX):
        removed = _unreferenced(store, last)
        for removal in removed:
            path = store.root / removal.path
            try:
                _remove(path)
            except OSError as error:
                raise InputError(f"{path} can't be removed ({one_line(error)})") from error
    return removed


def _remove(path: Path) -> None:
    if path.is_dir():
        (path / MANIFEST).unlink(missing_ok=True)  # first: half a folder is no artifact
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _exists(store: Store) -> None:
    if store.address:
        store.root.mkdir(parents=True, exist_ok=True)  # for what is fetched, and its lock
        there = any(store.paths(step) for step in NEEDS)
    else:
        there = any((store.root / name).exists() for name in (RUNS, results.LATEST, *NEEDS))
    if not there:
        raise InputError(f"{store.name} holds no results: name another with --artifacts FOLDER")


def _is_result(path: str) -> bool:
    return path.partition("/")[0] in NEEDS


def _is_here(store: Store) -> None:
    if store.address:
        raise InputError(
            f"nobody here knows what other machines use of {store.address}: let it expire there by "
            f"its age; gc --artifacts {store.root} clears what is kept of it on this machine"
        )
    _exists(store)


def _folders(store: Store) -> list[str]:
    """List the folders of all artifacts, also of those that were never finished."""
    return [
        str(path.relative_to(store.root))
        for step in sorted(NEEDS)
        for path in sorted((store.root / step).glob("*/"))
        if NAME.fullmatch(path.name)
    ]


def _unreferenced(store: Store, last: int) -> list[Removal]:
    runs = ledger.entries(store.root)
    staying = ledger.kept(runs, last)
    used = frozenset[str]().union(*(run.paths for run in staying)) | _latest_paths(store)
    keys = {path[-KEY_CHARACTERS:] for path in used}
    paths = [path for path in _folders(store) if path not in used]
    paths += [
        name
        for folder in (RECORDS, CHECKPOINTS)
        for name in store.names(folder)
        if _key(name) not in keys
    ]
    gone = [f"{RUNS}/{run.file.name}" for run in runs if run not in staying]
    return [
        *(
            Removal(path, "no run that is kept uses it", _bytes(store.root / path))
            for path in paths
        ),
        *(Removal(path, "a later run asked the same", _bytes(store.root / path)) for path in gone),
    ]


def _latest_paths(store: Store) -> frozenset[str]:
    try:
        return frozenset(point.artifact.path for point in results.latest(store).points)
    except InputError:  # there is none, or it is damaged, which `verify` says
        return frozenset()


def _findings(store: Store) -> list[Finding]:
    runs = ledger.entries(store.root)
    live = frozenset[str]().union(*(run.paths for run in runs if run.live))
    keys = {path[-KEY_CHARACTERS:] for path in live}
    checks: list[tuple[str, Callable[[], str | None]]] = [
        (path, partial(_artifact, store, path)) for path in results_in(store) if path not in live
    ]
    for folder, check in ((RECORDS, _record), (CHECKPOINTS, _checkpoint)):
        checks += [
            (name, partial(check, store.blob(name)))
            for name in store.names(folder)
            if _key(name) not in keys
        ]
    found = [Finding(path, what) for path, what in _failing(store, checks)]
    found += [
        Finding(f"{RUNS}/{run.file.name}", f"{run.file} can't be read")
        for run in runs
        if run.header is None
    ]
    if what := _latest(store, {finding.path for finding in found}):
        found.append(Finding(results.LATEST, what))
    return sorted(found, key=lambda finding: finding.path)


def _failing(
    store: Store, checks: Iterable[tuple[str, Callable[[], str | None]]]
) -> Iterator[tuple[str, str]]:
    for path, check in checks:
        try:
            what = check()
        except FileNotFoundError:  # a run has just replaced or removed it
            continue
        except OSError as error:
            if store.address:  # it does not answer, which damages nothing
                raise
            what = f"{store.root / path} can't be read ({error.strerror})"
        if what:
            yield path, what


def _artifact(store: Store, path: str) -> str | None:
    try:
        store.verify(path)
    except OtherVersionError:
        return None
    except DamagedError as damage:
        return str(damage)
    return None


def _record(record: Blob) -> str | None:
    content = record.read()
    if content is None:  # a run has just removed it
        return None
    try:
        told = json.loads(json.loads(content)["result"])
        artifact = Artifact.model_validate(told)
    except (ValueError, LookupError, TypeError, RecursionError):
        return f"{record} can't be read"
    if artifact.path[-KEY_CHARACTERS:] != _key(str(record)):
        return f"{record} is of another result"
    return None


def _checkpoint(checkpoint: Blob) -> str | None:
    content = checkpoint.read()
    return None if content is None or checkpoints.whole(content) else f"{checkpoint} is damaged"


def _key(name: str) -> str:
    """Return what the name of a record or a checkpoint has of a result's key, as its path has."""
    return name.rpartition("/")[2][:KEY_CHARACTERS]


def _latest(store: Store, damaged: Collection[str]) -> str | None:
    if store.get(results.LATEST) is None:
        return None
    try:
        points = results.latest(store).points
    except InputError as error:
        return str(error)
    paths = [point.artifact.path for point in points]
    whole = set(results_in(store)) - set(damaged)
    gone = [path for path in paths if path not in whole]
    if not gone:
        return None
    return f"the latest run's {gone[0]} is gone or damaged" + (
        f", and {len(gone) - 1} more" if len(gone) > 1 else ""
    )


def _bytes(path: Path) -> int:
    inside = path.iterdir() if path.is_dir() else [path]
    return sum(file.stat().st_size for file in inside)
