"""What stands beside the bounds and the comparison: second opinions, and the published run."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from cyclical import arms, line_by_line, reference
from cyclical.manifests import Artifact
from tasks import bounds as bounds_tasks
from tasks import comparison, pictures
from tasks.publishing import Section

if TYPE_CHECKING:
    from flows.loading import Loaded
    from flows.stages import Stage

Later = Callable[[], Artifact]


def noise(stage: "Stage", loaded: "Loaded", sweep: Artifact) -> Artifact | None:
    """Estimate the gradient noise scale, where the sweep measured it."""
    points = arms.batch_sweep(stage.config, stage.config.fixed.learning_rate, loaded.images)
    measured = next(((swept, point) for swept, point in points if point.noise), None)
    if measured is None:
        return None
    swept, point = measured
    _, group, size = point.noise_shape(loaded.images)
    if group == 1:
        return None
    return stage.here(
        bounds_tasks.estimate_noise,
        "noise",
        sweep=sweep,
        measured=swept,
        small_batch=size,
        big_batch=group * size,
        examples=loaded.images,
    )


def at_equal_sums(stage: "Stage", sweep: Artifact, of_rates: Artifact) -> Section:
    """Set both sweeps on one clock, and draw it."""
    inputs = {"sweep": sweep, "of_rates": of_rates}
    compared = stage.here(bounds_tasks.compare_at_equal_sums, "sums", **inputs)
    drawn = stage.here(pictures.draw_learning_clock, "sums-pictures", **inputs)
    text = "Batch sizes beside the sweep of the rate, at equal sums of the rates of all updates"
    return Section(text, drawn, (compared, "sums.parquet"))


def beside_published(
    stage: "Stage",
    loaded: "Loaded",
    table: Artifact,
    sweeps: dict[str, Later | None],
    bounds: dict[str, float],
) -> list[Section]:
    """Set all figures beside the published run's, where this is that experiment at its size."""
    if not reference.whole(stage.config, is_fashion=loaded.about.is_fashion):
        return []
    elsewhere = reference.at_other_rates(bounds)
    published = {value: loaded.published_sweep(value) for value in sweeps.keys() - elsewhere}
    swept = {value: later() for value, later in sweeps.items() if later and published.get(value)}
    if stage.config.lr_sweep.method != "sweep":
        swept.pop("learning_rate", None)
    beside = stage.here(
        comparison.compare_with_published,
        "published",
        comparison=table,
        sweeps=swept,
        bounds=bounds,
        published_sweeps={value: published[value] for value in swept},
        published_arms={
            arm: rows for arm, rows in loaded.published_arms.items() if arm not in elsewhere
        },
    )
    slips = "\n".join(f"- {slip}" for slip in line_by_line.SLIPS)
    return [Section(f"Beside the published run\n\n{slips}", table=(beside, "published.parquet"))]
