"""The comparison of all arms as text that fits on one screen or page."""

from collections.abc import Sequence

from cyclical.reference import ALL_IMAGES
from cyclical.results import ArmResult

PUBLISHED = "published"


def overview(arms: Sequence[ArmResult], goal: float) -> list[dict[str, str]]:
    """Lay the arms out, a row each: column -> cell; the last two columns may be left out.

    Published figures have a column where there are any.

    Differences are in points (hundredths) of accuracy; `±` is half of the 95 % interval.
    """
    return [
        {
            "arm": arm.arm,
            "final": "diverged"
            if arm.test_accuracy is None
            else _with_interval(arm.test_accuracy, arm.test_accuracy_high, "{:.4f}", "{:.4f}"),
            "best*": _number(arm.best_val_accuracy, "{:.4f}"),
            "vs fixed": _with_interval(
                _points(arm.difference), _points(arm.difference_high), "{:+.1f}", "{:.1f}"
            )
            if arm.baseline
            else "",
            f"to {goal:g}": _number(arm.epochs_to_goal, "{:.3g}"),
            **({PUBLISHED: _published(arm)} if _any_published(arms) else {}),
            "updates": f"{arm.updates:,.0f}",
            "seconds": _number(arm.seconds, "{:,.0f}"),
        }
        for arm in arms
    ]


def legend(arms: Sequence[ArmResult], goal: float) -> dict[str, str]:
    """Say what the columns mean."""
    several = any(arm.seeds > 1 for arm in arms)
    held_out = any(arm.held_out for arm in arms)
    interval = ", mean ± 95 % interval" if several else ""
    published = (
        "the published run's final, with the bounds it found, on 60,000 images for 20 epochs "
        "(n: of n test images)"
    )
    picked = "on the held-out images" if held_out else "on the test images: optimistic"
    return {
        "final": f"test accuracy after the last epoch{interval}",
        "best*": f"accuracy of the best epoch {picked}",
        "vs fixed": "points (hundredths) above its fixed arm",
        f"to {goal:g}": "the first epoch at that accuracy",
        **({PUBLISHED: published} if _any_published(arms) else {}),
    }


def _any_published(arms: Sequence[ArmResult]) -> bool:
    return any(arm.published_final is not None for arm in arms)


def _published(arm: ArmResult) -> str:
    of_few = arm.published_images is not None and arm.published_images < ALL_IMAGES
    few = f" ({arm.published_images:.0f})" if of_few else ""
    return _number(arm.published_final, "{:.4f}", none="") + few


def _points(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(number: float | None, form: str, none: str = "-") -> str:
    return none if number is None else form.format(number)


def _with_interval(mean: float | None, high: float | None, form: str, half: str) -> str:
    if mean is None:
        return "-"
    return form.format(mean) + ("" if high is None else f" ± {half.format(high - mean)}")
