"""Stores made by hand that have all that a report can show, with pictures that a browser reads."""

import io
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from cyclical import line_by_line, reference, results
from cyclical.config import Experiment
from cyclical.results import Point, RunRecord
from cyclical.settings import resolve
from cyclical.store import Slot, Store
from tests.drawing import compared, every_arm, rising
from tests.shelves import batch_bounds, lr_bounds, point, run_of

RECIPE = {
    "versions": {"python": "3.11", "tensorflow": "2.21.0", "keras": "3.15.1"},
    "environment": {"device": "CPU", "machine": "x86_64", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
STEPS = {
    "clr": "clr_training",
    "cyclic": "cyclic_batch_training",
    "effective": "effective_batch_training",
    "combined": "combined_training",
    "fixed": "fixed_training",
}
VOID = {"meta", "img", "link", "br", "input", "hr"}


def png(width: int = 900, height: int = 500) -> bytes:
    """Make a picture of one colour."""
    stored = io.BytesIO()
    Image.new("RGB", (width, height), "#A6D5F2").save(stored, "png")
    return stored.getvalue()


def swept(value: str, values: list[float]) -> dict[str, pd.DataFrame]:
    accuracies = np.linspace(0.6, 0.9, len(values))
    columns: dict[str, Any] = {value: values, "seeds": 1, "train_loss": 1 - accuracies}
    columns |= {"train_accuracy": accuracies, "val_accuracy": accuracies, "status": "learned"}
    table = pd.DataFrame(columns)
    return {"sweep": table, "points": table.assign(seed=0, updates=237)}


def loaded(store: Store) -> list[Point]:
    counts = {"label": [0, 1], "name": ["T-shirt/top", "<i>boot"], "train": [60, 40]}
    layers = {"layer": ["conv2d"], "type": ["Conv2D"], "output_shape": ["28x28x6"], "trained": 156}
    return [
        point(store, "load_data", "data", class_counts=pd.DataFrame(counts)),
        point(store, "load_data", "model", model_summary=pd.DataFrame(layers)),
        point(store, "load_data", "pictures", samples=png(900, 300)),
    ]


def trained(store: Store, seeds: int) -> list[Point]:
    """Write every arm with its picture; its recipe names versions and a device."""
    points = []
    for arm in every_arm("quick", seeds):
        step, label = STEPS[arm.label.partition("-")[0]], f"{arm.label}-seed={arm.seed}"
        history = rising(arm, 0.8).assign(train_loss=0.5, train_accuracy=0.75)
        trace = {"learning_rate": [0.001, 0.01], "batch_size": 64, "loss": 1.0, "accuracy": 0.5}
        tables = {"history.parquet": history, "iterations.parquet": pd.DataFrame(trace)}
        slot = Slot(store=store, step=step, label=label, recipe=RECIPE)
        artifact = store.write(slot, tables, duration_seconds=12)
        points.append(Point(step=step, label=label, artifact=artifact))
        points.append(point(store, step, f"{label}-pictures", iterations=png(900, 900)))
    return points


def opinions(store: Store) -> list[Point]:
    """Write what stands beside the bounds of the batch size."""
    scales = {"epoch": [1, 2, 3], "seeds": 1, "noise_scale": [80.0, 90.0, 123.4]}
    sums = {"batch_size": [16, 32], "updates": [939.0, 471.0], "rate_sum": [0.9, 0.5]}
    apart = {"train_accuracy": [0.8, 0.7], "same_sum": [0.79, 0.72], "difference": [0.01, -0.02]}
    return [
        point(store, "batch_bounds", "noise", noise=pd.DataFrame(scales)),
        point(store, "batch_bounds", "sums", sums=pd.DataFrame(sums | apart)),
        point(store, "batch_bounds", "sums-pictures", learning_clock=png(900, 560)),
    ]


def beside_published(store: Store, trainings: pd.DataFrame) -> Point:
    """Write the comparison with the published run."""
    lines = line_by_line.of_arms(trainings, reference.arms())
    return point(store, "comparison", "published", published=lines)


def whole(
    store: Store, seeds: int = 1, config: Experiment | None = None, **changes: Any
) -> RunRecord:
    """Make a run of all steps; `changes` are the record's."""
    made = compared("quick", seeds, diverged=["clr-paper"])
    tables = {"comparison": made.trainings, "summary": made.summary}
    run = run_of(
        *loaded(store),
        point(store, "lr_sweep", "sweep", **swept("learning_rate", [1e-9, 1e-4, 0.001, 0.01])),
        lr_bounds(store),
        point(store, "lr_bounds", "pictures", lr_sweep=png()),
        point(store, "batch_sweep", "sweep", **swept("batch_size", [16, 32, 64, 128])),
        batch_bounds(store),
        point(store, "batch_bounds", "pictures", batch_sweep=png()),
        *opinions(store),
        *trained(store, seeds),
        point(store, "comparison", "comparison", **tables, accuracy_by_epoch=made.histories),
        point(
            store,
            "comparison",
            "pictures",
            final_accuracy=png(),
            validation_accuracy=png(900, 1200),
            accuracy_by_updates=png(900, 1201),
        ),
        point(store, "comparison", "seconds-pictures", accuracy_by_seconds=png(900, 1202)),
        beside_published(store, made.trainings),
    )
    chosen = config or resolve("quick", seeds=seeds)
    run = run.model_copy(update={"configuration": chosen} | changes)
    results.record(store, run)
    return run


class Page(HTMLParser):
    """A page as a list of its elements, with the text within each; it must be well-formed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[list[str]] = []
        self._open: list[int] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append([])
        if tag not in VOID:
            self._open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.texts.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self._open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for number in self._open:
            self.texts[number].append(data)

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of these tags."""
        return [attributes for tag, attributes in self.elements if tag in tags]

    def text(self, *tags: str) -> list[str]:
        """Return the text of all elements of these tags."""
        found = zip(self.elements, self.texts, strict=True)
        return [
            re.sub(r"\s+", " ", "".join(texts)).strip() for (tag, _), texts in found if tag in tags
        ]

    def tags(self, *tags: str) -> list[str]:
        """Return which of these tags there are, in the page's order."""
        return [tag for tag, _ in self.elements if tag in tags]
