"""Work out on paper what limits a run on 10, 100 and 1,000 workers, and draw it.

The flow's own stages write down what its process does (`programs`), each task is priced by what was
measured (`measured`, `prices`), and the run is simulated (`simulation`) with what it asks of the
server and the store (`loads`). docs/scaling.md holds the tables; a test compares.

Run: `python -m benchmarks.scaling`; `--write` renews docs/scaling.md and docs/scaling.png.
"""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks import loads, measured
from benchmarks.measured import NOTEBOOK, QUICK
from benchmarks.prices import QUICK_WORKERS, Cost, Prices, prices
from benchmarks.programs import Operation, Submit, Wait, recorded
from benchmarks.simulation import Placed, Schedule, critical, simulate
from cyclical import config, markdown, results, style
from cyclical.files import write_atomically
from cyclical.plans import Training

DOCS = Path(__file__).parents[1] / "docs"
PAGE, PICTURE = DOCS / "scaling.md", DOCS / "scaling.png"
BLOCK = re.compile(
    r"(?<=<!-- written by `python -m benchmarks.scaling --write` -->\n).*?(?=<!-- to here -->)",
    re.DOTALL,
)
SEEDS = 20
WORKERS = (1, 2, 10, 100, 220, 1000)  # 220: as many as the first sweep has trainings
LARGE = (10, 100, 1000)
DRAWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
DEVICES = {"core": "CPU core", "GPU": "H200"}
TICK_MINUTES = (2, 5, 10, 20, 60, 180, 600, 1800, 6000)
BUSY = 0.8  # workers that train for more of their time are what limits
UNBOUND = ("clr-paper", "cyclic-batch-reference", "fixed-sgd")  # arms that no sweep decides
MB = 1e6
MEASURED_SWEEPS = "4 min 22 s"  # performance.md, in two commands, start-up included


@dataclass(frozen=True)
class Case:
    """A run from nothing on one kind of worker; its critical path, and the trainings on it."""

    device: str
    experiment: config.Experiment
    program: Sequence[Operation]
    prices: Prices
    shortest: Schedule
    chain: Sequence[Placed]

    @property
    def work(self) -> float:
        """The seconds of all trainings, on workers that have built and compiled all before."""
        return sum(each.ended - each.began for each in self.shortest.placed.values())


@cache
def case(device: str, seeds: int = SEEDS) -> Case:
    """Lay the notebook profile out for a device."""
    experiment = config.NOTEBOOK.model_copy(update={"seeds": tuple(range(seeds))})
    program, priced = recorded(experiment, NOTEBOOK), prices(experiment, device)
    return Case(device, experiment, program, priced, *critical(program, priced))


@cache
def run(device: str, workers: int) -> Schedule:
    """Simulate the notebook profile."""
    of = case(device)
    return simulate(of.program, of.prices, workers)


def limit(of: Case, ran: Schedule) -> str:
    """Name what takes most of a run: the workers, where they are busy; else what they wait for."""
    if ran.utilisation > BUSY:
        return "the workers"
    warm = simulate(of.program, of.prices, ran.workers, cold=False)
    parts = {
        "three trainings, one after the other": sum(each.ended - each.began for each in of.chain),
        "the flow's process": ran.own - of.prices.start,
        "workers that are cold": ran.makespan - warm.makespan,
    }
    return max(parts, key=parts.__getitem__)


def table(device: str) -> pd.DataFrame:
    """Return a row for every number of workers."""
    of, rows = case(device), []
    images = of.experiment.data.images_trained_on
    for workers in WORKERS:
        ran = run(device, workers)
        server, store = loads.asked(ran, of.program), loads.stored(ran, images)
        rows.append(
            {
                "workers": f"{workers:,} x {DEVICES[device]}",
                "makespan": clock(ran.makespan),
                "speed-up": f"{run(device, 1).makespan / ran.makespan:.1f}",
                "utilisation": f"{ran.utilisation:.0%}",
                "server, messages/s": f"{server.mean:.1f} ({server.busiest:.0f})",
                "store, MB/s": f"{store.mean / MB:.1f} ({store.busiest / MB:,.0f})",
                "progress, events/s": f"{loads.told(ran, images, device):.1f}",
                "what limits": limit(of, ran),
            }
        )
    return pd.DataFrame(rows)


def clock(seconds: float) -> str:
    """Write a time.

    >>> clock(93784.2), clock(95.2)
    ('26 h 03 min', '1 min 35 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def path(of: Case) -> pd.DataFrame:
    """Return the critical path: what follows what, and the seconds of each."""
    shortest, rows, at = of.shortest, [("start", "", of.prices.start)], of.prices.start
    for each in of.chain:
        rows.append(("the flow's process", "", each.began - at))
        rows.append((each.submit.step, each.submit.label, each.ended - each.began))
        at = each.ended
    rows.append(("the flow's process", "", shortest.makespan - at))
    found = pd.DataFrame(rows, columns=["what", "training", f"seconds, {DEVICES[of.device]}"])
    return found.round(0)


def earlier(program: Sequence[Operation], labels: Sequence[str]) -> tuple[Operation, ...]:
    """Submit trainings of these labels as soon as the data are there."""
    first = next(n for n, each in enumerate(program) if isinstance(each, Wait)) + 1
    early = {
        number
        for number, each in enumerate(program)
        if isinstance(each, Submit) and each.label.rpartition("-seed=")[0] in labels
    }
    rest = [number for number in range(first, len(program)) if number not in early]
    order = [*range(first), *sorted(early), *rest]
    place = {number: new for new, number in enumerate(order)}
    return tuple(
        Wait(place[each.submitted]) if isinstance(each, Wait) else each
        for each in (program[number] for number in order)
    )


def changes(of: Case) -> Mapping[str, Callable[[int], Schedule]]:
    """Name what could be otherwise, and how a run on so many workers would go then."""
    program, priced = of.program, of.prices
    equal = tuple(replace(e, priority=0.0) if isinstance(e, Submit) else e for e in program)
    ahead = earlier(program, UNBOUND)
    idle = replace(priced, point=0.0, here=lambda _: 0.0)
    return {
        "as it is": lambda workers: simulate(program, priced, workers),
        "no priorities": lambda workers: simulate(equal, priced, workers),
        "arms that no sweep decides begin at once": lambda workers: simulate(
            ahead, priced, workers
        ),
        "workers have built and compiled all before": lambda workers: simulate(
            program, priced, workers, cold=False
        ),
        "the flow's process takes no time": lambda workers: simulate(program, idle, workers),
        "trainings twice as fast": lambda workers: simulate(program, hastened(priced), workers),
    }


def hastened(priced: Prices) -> Prices:
    """Halve the time of every epoch."""

    def train(training: Training) -> Cost:
        cost = priced.train(training)
        return replace(cost, epochs=tuple(seconds / 2 for seconds in cost.epochs))

    return replace(priced, train=train)


def otherwise() -> pd.DataFrame:
    """Return the makespan of every change, in seconds."""
    columns = {}
    for device, name in DEVICES.items():
        found = changes(case(device))
        for workers in LARGE:
            columns[f"{workers:,} x {name}"] = {
                change: f"{ran(workers).makespan:,.0f}" for change, ran in found.items()
            }
    return pd.DataFrame(columns).rename_axis("seconds").reset_index()


def validated() -> pd.DataFrame:
    """Set the quick run beside its simulation: when each step's last training ended.

    `own times`: every training takes what it took, so that the schedule alone is simulated.
    """
    ran, record = measured.trained(QUICK), results.latest(QUICK)
    program, priced = recorded(record.configuration, QUICK), prices(record.configuration, "core")
    took = {each.training.label: each for each in ran}

    between = measured.seconds_between(ran, QUICK_WORKERS)

    def own(training: Training) -> Cost:
        return Cost(between, tuple(took[training.label].seconds), {})

    began = measured.moment(record.finished) - record.duration_seconds
    simulated = [
        simulate(program, each, QUICK_WORKERS) for each in (priced, replace(priced, train=own))
    ]
    rows = [
        (
            f"{step}, last training",
            max(each.ended for each in ran if each.manifest.step == step) - began,
            *(_last(each, step) for each in simulated),
        )
        for step in dict.fromkeys(each.manifest.step for each in ran)
    ]
    rows.append(("run", record.duration_seconds, *(each.makespan for each in simulated)))
    columns = ["seconds until the end of", "measured", "simulated", "simulated with own times"]
    found = pd.DataFrame(rows, columns=columns).round(0)
    found["error, simulated"] = [
        f"{row[2] / row[1] - 1:+.1%}" for row in found.itertuples(index=False)
    ]
    return found


def both_sweeps() -> str:
    """Set both sweeps of one seed on one GPU beside what they took where eight shared it."""
    one = config.NOTEBOOK
    program = recorded(one, NOTEBOOK, "batch_bounds")
    ran = simulate(program, prices(one, "GPU"), 1)
    compiling = sum(each.once for each in ran.placed.values())
    return (
        f"Both sweeps of one seed on one H200, one training after the other: simulated "
        f"{clock(ran.makespan)}, of which {clock(compiling)} compile. Measured: {MEASURED_SWEEPS}, "
        "with eight side by side on it."
    )


def _last(ran: Schedule, step: str) -> float:
    return max(each.ended for each in ran.placed.values() if each.submit.step == step)


def draw() -> Figure:
    """Draw the makespan over the workers, with the two bounds that no schedule beats."""
    figure = Figure(figsize=(style.INCHES, 4.2))
    figure.suptitle(f"A run of the notebook profile with {SEEDS} seeds", fontsize="medium")
    panels = figure.subplots(1, 2)
    for axes, device in zip(panels, DEVICES, strict=True):
        _draw_one(axes, device)
    panels[0].set_ylabel("time of the run")
    return figure


def _draw_one(axes: Axes, device: str) -> None:
    of, workers = case(device), np.array(DRAWN)
    makespans = [run(device, count).makespan for count in DRAWN]
    axes.set(xscale="log", yscale="log", xlabel=f"workers, one {DEVICES[device]} each")
    axes.plot(workers, of.work / workers, "--", color=style.GREY, label="work / workers")
    axes.axhline(of.shortest.makespan, ls=":", color=style.VERMILLION, label="critical path")
    axes.plot(workers, makespans, "o-", color=style.BLUE, ms=4, label="simulated")
    style.ticks(axes.xaxis, ticker.FixedLocator([1, 10, 100, 1000]), "{:,.0f}".format)
    style.ticks(axes.yaxis, ticker.FixedLocator([60 * each for each in TICK_MINUTES]), short)
    axes.set_ylim(bottom=of.shortest.makespan / 2)
    axes.legend()


def short(seconds: float) -> str:
    """Write a round time on an axis.

    >>> short(300), short(36000)
    ('5 min', '10 h')
    """
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{seconds / 60:g} min"


def block() -> str:
    """Write what the page's part holds that is worked out."""
    parts = []
    for device, name in DEVICES.items():
        of = case(device)
        most = loads.at_once(run(device, WORKERS[-1]))
        parts += [
            (
                f"{len(of.shortest.placed)} trainings, {of.work / 3600:,.1f} hours of one {name}; "
                f"critical path {clock(of.shortest.makespan)}; at most {most} trainings at once:"
            ),
            markdown.table(table(device)),
        ]
    parts += ["Critical path:", *(markdown.table(path(case(device))) for device in DEVICES)]
    parts += ["Otherwise:", markdown.table(otherwise()), "Check:", markdown.table(validated())]
    parts.append(both_sweeps())
    return "\n" + "\n\n".join(parts) + "\n\n"


def renewed(page: str) -> str:
    """Return the page with its worked-out part written anew."""
    text, count = BLOCK.subn(lambda _: block(), page)
    if count != 1:
        raise ValueError(f"{PAGE} must have one part to write")
    return text


def main() -> None:
    """Print the tables, and write them where asked."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--write", action="store_true", help="renew docs/scaling.md and .png")
    print(block())
    if options.parse_args().write:
        PAGE.write_text(renewed(PAGE.read_text()))
        write_atomically(PICTURE, style.png(draw))


if __name__ == "__main__":
    main()
