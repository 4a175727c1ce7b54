"""Where a report's figures come from: configuration, versions, files, and the command again."""

import json
import shlex
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from cyclical.manifests import Manifest, Sha256
from cyclical.markdown import cell
from cyclical.report_blocks import Column, Grid, Reader
from cyclical.results import RunRecord
from cyclical.settings import changes, parse_settings

SHOWN = 12  # characters of a sum
LIBRARIES = {"python": "Python", "tensorflow": "TensorFlow", "keras": "Keras", "numpy": "NumPy"}
COMPUTING = "Computing took"
NOT_ASKED = {"artifacts", "workers", "seeds"}  # they change no figure, or have an option


def command(run: RunRecord) -> str:
    """Spell the command that makes a run again, from the same code and data.

    >>> from cyclical.config import QUICK
    >>> command(RunRecord.model_construct(profile="quick", until_step=None, configuration=QUICK))
    'cyclical run --profile quick'
    """
    seeds = list(run.configuration.seeds)
    changed = changes(run.profile, run.configuration)
    words = ["cyclical", "run", "--profile", run.profile]
    for name, value in changed.items():
        if name not in NOT_ASKED:
            words += ["--set", f"{name}={_text(value)}"]
    if "seeds" in changed:
        counted = seeds == list(range(len(seeds)))
        words += (
            ["--seeds", str(len(seeds))] if counted else ["--set", f"seeds={json.dumps(seeds)}"]
        )
    if run.until_step:
        words += ["--until-step", run.until_step]
    return shlex.join(words)


def computing(reader: Reader) -> str:
    """Say how long all results took to compute, whenever and side by side or not."""
    return duration(sum(manifest.duration_seconds for _, manifest in reader.manifests()))


def facts(reader: Reader) -> list[tuple[str, str]]:
    """Say what a run was and on what it ran: name -> value."""
    run, manifests = reader.run, [manifest for _, manifest in reader.manifests()]
    environment = list(_recipes(manifests, "environment"))
    told = {
        "Finished": moment(run.finished),
        "Took": duration(run.duration_seconds) + ", with what it found finished already",
        COMPUTING: computing(reader) + ", all results together, whenever they were computed",
        "Profile": run.profile,
        "Until step": run.until_step or "",
        "Seeds": ", ".join(map(str, run.configuration.seeds)),
        **{
            name: _each(recipe.get(library) for recipe in _recipes(manifests, "versions"))
            for library, name in LIBRARIES.items()
        },
        "Device": _each(each.get("device") for each in environment),
        "GPU": _each(each.get("gpu") for each in environment),
        "Machine": _each(each.get("machine") for each in environment),
        "Instructions": _each(each.get("ONEDNN_MAX_CPU_ISA") for each in environment),
        "Flow run": run.flow_run_id,
    }
    return [(name, value) for name, value in told.items() if value]


def changed(run: RunRecord) -> Grid | None:
    """Lay out what differs from the profile, None where nothing does."""
    differing = changes(run.profile, run.configuration)
    if not differing:
        return None
    columns = [Column("setting", numeric=False), Column("value", numeric=False)]
    rows = [(name, json.dumps(value)) for name, value in differing.items()]
    return Grid(f"What was changed of the profile {run.profile}", columns, rows)


def configuration(run: RunRecord) -> str:
    """Write the whole configuration as JSON."""
    return run.configuration.model_dump_json(indent=1)


def files(reader: Reader) -> Grid:
    """Lay out every file of the run, with its size and the beginning of its SHA-256."""
    names = ("file", "of", "bytes", "SHA-256")
    columns = [Column(name, numeric=name == "bytes") for name in names]
    rows: list[tuple[str, ...]] = []
    whole = {}
    for path, of, size, sha256 in _files(reader):
        whole[len(rows), 3] = sha256
        rows.append((path, of, cell(size), sha256[:SHOWN]))
    return Grid("Every file of the run, from its artifacts folder on", columns, rows, whole=whole)


def sums(reader: Reader) -> str:
    """List the files' whole sums as `sha256sum --check` reads them."""
    return "\n".join(f"{sha256}  {path}" for path, _, _, sha256 in _files(reader))


def moment(finished: str) -> str:
    """Say when, to the minute.

    >>> moment("2026-11-25T01:53:15+00:00")
    '2026-11-25 01:53 UTC'
    """
    return f"{datetime.fromisoformat(finished):%Y-%m-%d %H:%M} UTC"


def duration(seconds: float) -> str:
    """Say how long.

    >>> duration(7.24), duration(287.5), duration(9000)
    ('7 s', '4 min 48 s', '2 h 30 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _files(reader: Reader) -> Iterable[tuple[str, str, int, Sha256]]:
    for point, manifest in reader.manifests():
        for name, file in manifest.files.items():
            path = f"{point.artifact.path}/{name}"
            yield path, f"{point.step} {point.label}", file.bytes, file.sha256


def _recipes(manifests: Iterable[Manifest], part: str) -> Iterable[dict[str, Any]]:
    return (manifest.recipe.get(part, {}) for manifest in manifests)


def _each(values: Iterable[Any]) -> str:
    """Name each value once; a run may be made of results of several devices."""
    return ", ".join(sorted({str(value) for value in values if value}))


def _text(value: Any) -> str:
    """Write a value as `--set` reads it: text without quotes where that is the same."""
    if isinstance(value, str) and parse_settings([f"x={value}"])["x"] == value:
        return value
    return json.dumps(value)
