"""Compare this project's training loop with others, in turn, on the same images and network.

Rivals: Keras `fit` as the published notebook calls it (Keras turns XLA on by itself), the same
without XLA, `fit` on a tuned tf.data pipeline, with all threads in one process and with one in
each of a process a core, PyTorch likewise, and this project's loop with one worker and a worker a
core. Where a rival has several ways, the fastest one in three trials is measured: XLA or not;
eager or compiled, channels first or last. In each round every rival trains for about three
seconds, a whole number of batches, after tracing and compiling. Nothing is subtracted: this
project's loop makes its weights afresh within that time. Processes of one rival begin together;
their time ends with the last.

Columns: medians of examples a second; how many times as fast this project's workers were (median
of the rounds' ratios); the share of what the machine's fastest float32 matrix product would allow,
if training were nothing but matrix products.

Where there is a GPU, all compute on the first one, and share it where they have several processes
(`--processes 1` is what a run does); rivals as they are installed, most in TF32, ours in float32.

No rival's threads are told how to wait: between two measurements they sleep by themselves. Still
the machine must be quiet: PyTorch's threads wait for each other spinning, and fall to a fraction
of their speed where another process takes a core.

Run: `make bench`, or `python -m benchmarks.throughput` where `.[bench]` is installed.
"""

import argparse
import math
import os
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks import records, rivals
from benchmarks.processes import Team, team

SIZES = (16, 64, 512, 4096)
OURS = "workers"
ONE_THREAD = {"OMP_NUM_THREADS": "1"}
SHARED = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}  # the processes of all rivals stay
ONE_TF_THREAD = SHARED | ONE_THREAD | {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
TRIALS = 3
IMAGES = 60_000
TRIAL_EXAMPLES = 2048
SECONDS = 3.0


@dataclass(frozen=True)
class Rival:
    """A training loop, the ways it can go, and the processes that it is given."""

    loop: rivals.Loop
    ways: tuple[str, ...] = ("",)
    processes: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


def known(processes: int) -> dict[str, Rival]:
    """Name all rivals; those that go side by side have so many processes."""
    from tasks.caching import ARITHMETIC_ON_GPU
    from tasks.cluster import NO_GPU, VISIBLE, environment, gpus

    of_worker = environment((*gpus(None), NO_GPU)[0])
    ours_alone = of_worker.keys() - {VISIBLE} | ARITHMETIC_ON_GPU.keys()
    if clash := ours_alone & os.environ.keys():
        raise SystemExit(f"unset {', '.join(sorted(clash))}: rivals are to run as installed")
    fit, torch, ours = rivals.notebook_fit, rivals.torch_loop, rivals.our_loop
    return {
        "fit": Rival(fit, (rivals.XLA,), environment=SHARED),
        "fit-no-xla": Rival(fit, (rivals.NO_XLA,), environment=SHARED),
        "fit-pipeline": Rival(rivals.pipeline_fit, (rivals.XLA, rivals.NO_XLA), environment=SHARED),
        "fit-side-by-side": Rival(
            rivals.pipeline_fit, (rivals.XLA, rivals.NO_XLA), processes, ONE_TF_THREAD
        ),
        "torch": Rival(torch, rivals.TORCH_WAYS),
        "torch-side-by-side": Rival(torch, rivals.TORCH_WAYS, processes, ONE_THREAD),
        "worker": Rival(ours, environment=of_worker),
        OURS: Rival(ours, processes=processes, environment=of_worker),
    }


def rate(of: Team, rival: Rival, way: str, size: int, examples: int) -> float:
    """Train one epoch in all of a rival's processes at once; return examples a second of all."""
    times = of.together(rivals.train, rival.loop, way, size, examples)
    seconds = max(ended for _, ended in times) - min(began for began, _ in times)
    return of.processes * examples / seconds


def whole_batches(examples: float, size: int) -> int:
    """Round a number of examples to whole batches, at least one, within the images there are.

    >>> whole_batches(5000, 512), whole_batches(100, 4096), whole_batches(1e9, 512)
    (5120, 4096, 59904)
    """
    return size * min(max(1, round(examples / size)), IMAGES // size)


def fastest_way(of: Team, rival: Rival, size: int) -> tuple[str, int]:
    """Warm all ways of a rival up and try them; return the fastest, and the examples to measure."""
    trial = whole_batches(TRIAL_EXAMPLES, size)
    rates = {}
    of.together(rivals.forget)
    for way in rival.ways:
        of.together(rivals.warm_up, rival.loop, way, size)
        rates[way] = max(rate(of, rival, way, size, trial) for _ in range(TRIALS))
    way = max(rates, key=rates.__getitem__)
    return way, whole_batches(SECONDS * rates[way] / of.processes, size)


def measure(
    chosen: Mapping[str, Rival], teams: Mapping[str, Team], size: int, rounds: int
) -> pd.DataFrame:
    """Measure all rivals at one batch size, one after the other in every round.

    Returns:
        A row a measurement: batch_size, rival, way, round (from 1), examples (of each process),
        examples_per_second (of all processes).
    """
    ways = {name: fastest_way(teams[name], rival, size) for name, rival in chosen.items()}
    rows: list[dict[str, Any]] = []
    for number in range(1, rounds + 1):
        for name, rival in chosen.items():
            way, examples = ways[name]
            measured = rate(teams[name], rival, way, size, examples)
            labels = {"batch_size": size, "rival": name, "way": way, "round": number}
            rows.append({**labels, "examples": examples, "examples_per_second": measured})
    return pd.DataFrame(rows)


def summary(measured: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Reduce measurements at one batch size to a row a rival, in the order of its columns.

    Args:
        measured: What `measure` returns.
        limit: Examples a second that matrix products would allow.
    """
    rates = measured.pivot_table("examples_per_second", "round", "rival", sort=False)
    ours = rates.get(OURS, pd.Series(math.nan, rates.index))
    ratios = rates.rdiv(ours, axis=0)
    shown = measured.drop_duplicates("rival").set_index("rival")[["batch_size", "way"]]
    shown["examples a second"] = rates.median().map("{:,.0f}".format)
    shown["workers / rival"] = ratios.median().map("{:.2f}".format, na_action="ignore")
    shown["of the limit"] = (rates.median() / limit).map("{:.1%}".format)
    return shown.reset_index()


def limits() -> pd.DataFrame:
    """Measure each library's matrix products with all threads, in a process of its own."""
    rows = []
    for library in filter(find_spec, ("numpy", "tensorflow", "torch")):
        with team(1, {}) as alone:
            [(flop, examples)] = alone.together(rivals.limit, library)
        rows.append(
            {"library": library, "gflop_per_second": flop / 1e9, "examples_per_second": examples}
        )
    return pd.DataFrame(rows)


def options() -> argparse.Namespace:
    """Read the command line."""
    from tasks.cluster import cores

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every rival")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="batch sizes")
    names = list(known(1))
    parser.add_argument("--rivals", nargs="+", default=names, choices=names, metavar="RIVAL")
    parser.add_argument(
        "--processes", type=int, default=cores(), help="side by side; default: one a core"
    )
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep all measurements there")
    return parser.parse_args()


def main() -> None:
    """Print a table for every batch size as soon as it is measured."""
    asked = options()
    everyone = known(asked.processes)
    chosen = {name: rival for name, rival in everyone.items() if name in asked.rivals}
    if not find_spec("torch") and any(name.startswith("torch") for name in chosen):
        install = ".venv/bin/pip install -c constraints.txt -e '.[bench]'"
        raise SystemExit(f"torch is not installed: {install}, or choose --rivals")
    products = limits()
    records.show(products.round(1))
    tables = []
    with ExitStack() as stack:
        teams = {
            name: stack.enter_context(team(rival.processes, rival.environment))
            for name, rival in chosen.items()
        }
        for size in asked.sizes:
            tables.append(measure(chosen, teams, size, asked.rounds))
            print()
            records.show(summary(tables[-1], products["examples_per_second"].max()))
    records.save(asked.save, "throughput", pd.concat(tables), limits=products.to_dict("records"))


if __name__ == "__main__":
    main()
