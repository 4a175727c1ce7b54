"""Compare the cheap methods of `lr_sweep.method` with the sweep that they replace, seed by seed.

For every seed: the sweep, the range test and the clock, each with the project's own loop and
settings; printed are the bounds by every rule, how many swept rates they lie from the sweep's, and
what each method costs beside the sweep. Trainings are kept in a folder, so that it can go on.

Run: `python -m benchmarks.lr_methods [--profile notebook] [--seeds N] [--model mlp|cnn]
[--optimizer momentum|rmsprop] [--cache FOLDER]`. The findings are in docs/range-test.md.
"""

import argparse
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from cyclical import arms, bounds, clock, datasets, fingerprint, range_test, sweeps
from cyclical.config import LR_RULES, PROFILES, Experiment
from cyclical.errors import InputError
from cyclical.machine import instruction_set
from cyclical.plans import Training
from cyclical.values import Optimizer

CLASSES = 10
OPTIMIZERS = {
    "sgd": Optimizer(name="sgd"),
    "momentum": Optimizer(name="sgd", momentum=0.9),
    "rmsprop": Optimizer(name="rmsprop"),
}
MODELS = {"lenet5": "lenet5"} | {name: f"benchmarks.lr_methods:{name}" for name in ("mlp", "cnn")}
Bounds = tuple[float, float]
RECIPE = (
    fingerprint.of_modules(["cyclical.training"]),
    fingerprint.versions(["cyclical.training"]),
    instruction_set(),
    hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
)
"""All that a kept training depends on besides its settings."""


def mlp(shape: tuple[int, int, int], classes: int) -> Any:
    """Build a plain multilayer perceptron, without normalisation."""
    import keras
    from keras import layers

    hidden = [layers.Dense(128, activation="relu") for _ in range(2)]
    ends = [layers.Dense(classes, activation="softmax")]
    return keras.Sequential([keras.Input(shape), layers.Flatten(), *hidden, *ends])


def cnn(shape: tuple[int, int, int], classes: int) -> Any:
    """Build a small convolutional network, without normalisation."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )


class Bench:
    """The trainings of one profile, network and optimizer, kept in a folder."""

    def __init__(self, profile: str, model: str, optimizer: str, cache: Path) -> None:
        self.settings = PROFILES[profile]
        self._data = datasets.load(
            "fashion_mnist",
            None,
            self.settings.data.train_images,
            self.settings.data.test_images,
        )
        self.images = len(self._data.train.labels)
        self._changes = {"model": MODELS[model], "optimizer": OPTIMIZERS[optimizer]}
        self._cache = cache
        cache.mkdir(parents=True, exist_ok=True)

    def experiment(self, seed: int, method: str) -> Experiment:
        """Return the profile's experiment of one seed by one method."""
        sweep = self.settings.lr_sweep.model_copy(update={"method": method})
        return self.settings.model_copy(update={"seeds": (seed,), "lr_sweep": sweep})

    def train(self, training: Training) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Train, or take what was kept; return history and iterations."""
        from cyclical import training as loop

        training = training.model_copy(update=self._changes)
        told = f"{training.model_dump_json()},{self.images},{len(self._data.test.labels)},{RECIPE}"
        name = hashlib.sha256(told.encode()).hexdigest()[:20]
        files = [self._cache / f"{name}.{part}.parquet" for part in ("h", "i")]
        if not all(file.exists() for file in files):
            print(f"training {training.label}, seed {training.seed}", flush=True)
            outcome = loop.train(training, self._data.train, self._data.test, CLASSES)
            outcome.history.to_parquet(files[0])
            outcome.iterations.to_parquet(files[1])
        return pd.read_parquet(files[0]), pd.read_parquet(files[1])

    def swept(self, seed: int) -> pd.DataFrame:
        """Return the table of the full sweep of one seed."""
        trainings = arms.lr_sweep(self.experiment(seed, "sweep"))
        histories = {(rate, seed): self.train(each)[0] for rate, each in trainings}
        return sweeps.final_metrics(histories, "learning_rate", CLASSES)

    def tested(self, seed: int, method: str) -> pd.DataFrame:
        """Return the curve of the range test, or of the one that the clock begins with."""
        [training] = arms.range_test(self.experiment(seed, method), self.images)
        return range_test.curve([self.train(training)[1]])

    def predicted(self, seed: int) -> pd.DataFrame:
        """Return the table that the clock predicts."""
        chosen = self.experiment(seed, "clock")
        test = self.tested(seed, "clock")
        [training] = arms.clock(chosen, self.images, range_test.lr_at_least_loss(test))
        _, run = self.train(training)
        return clock.finals(
            {seed: run},
            chosen.lr_sweep.learning_rates,
            arms.sweep_updates(chosen, self.images),
            chosen.lr_sweep.epochs,
            range_test.diverging_rate(test),
            CLASSES,
        )


def by_rules(table: pd.DataFrame, rules: Iterable[str]) -> dict[str, Bounds | None]:
    """Read a sweep's table by every rule; None where a rule finds nothing."""
    return {rule: _found(lambda rule=rule: bounds.lr_bounds(table, rule)) for rule in rules}


def _found(read: Any) -> Bounds | None:
    try:
        found = read()
    except InputError:
        return None
    return found.lr_min, found.lr_max


def distance(found: Bounds | None, wanted: Bounds | None, rates: Iterable[float]) -> str:
    """Say how many swept rates lr_min and lr_max lie above the wanted ones."""
    if found is None or wanted is None:
        return "none"
    order = sorted(rates)
    return " ".join(
        f"{order.index(one) - order.index(other):+d}"
        for one, other in zip(found, wanted, strict=True)
    )


def main() -> None:
    """Print a row for each seed, method and rule, and the cost of each method."""
    from tasks.cluster import WORKER_ENVIRONMENT

    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--profile", choices=PROFILES, default="quick")
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--model", choices=tuple(MODELS), default="lenet5")
    options.add_argument("--optimizer", choices=OPTIMIZERS, default="sgd")
    options.add_argument("--cache", type=Path, default=Path("artifacts/.lr-methods"))
    chosen = options.parse_args()
    os.environ.update(WORKER_ENVIRONMENT)
    bench = Bench(chosen.profile, chosen.model, chosen.optimizer, chosen.cache)
    rates = bench.settings.lr_sweep.learning_rates
    rows, accuracies = [], []
    for seed in range(chosen.seeds):
        sweep, predicted = bench.swept(seed), bench.predicted(seed)
        wanted = by_rules(sweep, LR_RULES["sweep"])
        tested = bench.tested(seed, "range_test")
        found = {
            "range_test": {
                rule: _found(lambda rule=rule, of=tested: range_test.bounds(of, rule, rates))
                for rule in LR_RULES["range_test"]
            },
            "clock": by_rules(predicted, LR_RULES["clock"]),
        }
        for method, each in ({"sweep": wanted} | found).items():
            rows += [
                {
                    "method": method,
                    "rule": rule,
                    "seed": seed,
                    "bounds": "none" if pair is None else "{:g} {:g}".format(*pair),
                    "from plateau": distance(pair, wanted["plateau"], rates),
                    "from same rule": distance(pair, wanted[rule], rates) if rule in wanted else "",
                }
                for rule, pair in each.items()
            ]
        accuracies.append(
            pd.DataFrame(
                {
                    f"sweep {seed}": sweep.set_index("learning_rate")["train_accuracy"],
                    f"clock {seed}": predicted.set_index("learning_rate")["train_accuracy"],
                }
            )
        )
    table = pd.DataFrame(rows).set_index(["method", "rule", "seed"])
    for column in table.columns:
        print(f"\n{column} (lr_min lr_max)\n{table[column].unstack().to_string()}")
    print(f"\naccuracy in the last epoch\n{pd.concat(accuracies, axis=1).round(3).to_string()}")
    updates = arms.sweep_updates(bench.settings, bench.images) * len(rates)
    for method in ("range_test", "clock"):
        of_method = sum(arms.range_updates(bench.experiment(0, method), bench.images))
        print(f"{method}: {of_method} of {updates} updates, {of_method / updates:.2%}")


if __name__ == "__main__":
    main()
