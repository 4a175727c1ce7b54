"""Learning-rate schedules against hand-computed values; how an epoch is cut into updates."""

import math
from collections.abc import Callable
from itertools import cycle, pairwise, repeat

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cyclical.errors import InputError
from cyclical.schedules import (
    Schedule,
    batch_cycle,
    batch_scaled,
    constant,
    cyclical,
    epoch_plan,
    exp_range,
    exponential,
    exponential_batches,
    scaled,
    triangular,
    triangular2,
    update_boundaries,
)

Policy = Callable[[float, float, int], Schedule]
POLICIES: dict[str, Policy] = {
    "triangular": triangular,
    "triangular2": triangular2,
    "exp_range": lambda base, peak, step: exp_range(base, peak, step, gamma=0.999),
    "scaled": lambda base, peak, step: scaled(base, peak, step, lambda number: 1 / number**2),
}
EVERY_POLICY = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)

rates = st.floats(1e-9, 10)
bounds = st.tuples(rates, rates).filter(lambda pair: pair[0] < pair[1])
half_cycles = st.integers(1, 5_000)
iterations = st.integers(0, 100_000)
sizes = st.integers(1, 300)
cycles = st.lists(st.integers(1, 16), min_size=1, max_size=6)


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=0)


# Values worked out by hand: base 0.001, max 0.005 and a half-cycle of 4 updates, so that the rate
# moves by 0.001 an update while the amplitude is whole.


def test_triangular_rises_and_falls_in_equal_steps() -> None:
    lr = triangular(0.001, 0.005, 4)
    expected = [0.001, 0.002, 0.003, 0.004, 0.005, 0.004, 0.003, 0.002, 0.001, 0.002]
    assert [lr(i) for i in range(10)] == pytest.approx(expected, rel=1e-12)


def test_triangular2_halves_the_amplitude_after_each_full_cycle() -> None:
    lr = triangular2(0.001, 0.005, 4)
    assert [lr(i) for i in (0, 2, 4, 6, 8)] == pytest.approx([0.001, 0.003, 0.005, 0.003, 0.001])
    assert [lr(i) for i in (10, 12, 14, 16)] == pytest.approx([0.002, 0.003, 0.002, 0.001])
    assert [lr(i) for i in (18, 20, 22, 24)] == pytest.approx([0.0015, 0.002, 0.0015, 0.001])


def test_exp_range_shrinks_the_amplitude_with_every_update() -> None:
    lr = exp_range(0.001, 0.005, 4, gamma=0.5)
    # 0.001 + 0.004 * (1 - x) * 0.5^i with 1 - x = 0, 1/4, 1/2, 3/4, 1, 3/4, 1/2
    expected = [0.001, 0.0015, 0.0015, 0.001375, 0.00125, 0.00109375, 0.00103125]
    assert [lr(i) for i in range(7)] == pytest.approx(expected, rel=1e-12)


def test_the_published_schedule_has_its_published_peaks() -> None:
    lr = exp_range(1e-4, 1e-3, 2000, gamma=0.99994)
    # 0.99994^2000 = 0.88691725..., 0.99994^6000 = 0.69766774...
    assert lr(0) == 1e-4
    assert lr(2000) == pytest.approx(1e-4 + 9e-4 * 0.886917, rel=1e-6)
    assert lr(4000) == near(1e-4)
    assert lr(6000) == pytest.approx(1e-4 + 9e-4 * 0.697668, rel=1e-6)


def test_a_constant_rate_is_the_same_after_any_update() -> None:
    lr = constant(0.01)
    assert (lr(0), lr(7), lr(10**9)) == (0.01, 0.01, 0.01)
    assert lr(np.arange(3)).tolist() == [0.01, 0.01, 0.01]


def test_a_scale_of_ones_own_may_depend_on_the_cycle() -> None:
    lr = cyclical(0.001, 0.005, 4, lambda number, _: 1 / number)
    assert [lr(i) for i in (4, 12, 20)] == pytest.approx([0.005, 0.003, 0.001 + 0.004 / 3])


def test_a_scale_of_ones_own_may_depend_on_the_iteration() -> None:
    lr = cyclical(0.001, 0.005, 4, lambda _, iteration: iteration / 8)
    assert [lr(i) for i in (0, 4, 6, 12)] == pytest.approx([0.001, 0.003, 0.0025, 0.007])


def test_the_cycles_that_a_scale_sees_are_counted_from_one() -> None:
    seen: list[float] = []

    def scale(number: np.ndarray, iteration: np.ndarray) -> np.ndarray:
        seen.extend(number)
        return np.ones_like(iteration)

    cyclical(0.001, 0.005, 2, scale)(np.arange(10))
    assert seen == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]


@EVERY_POLICY
def test_an_integer_gives_a_plain_float(policy: Policy) -> None:
    assert type(policy(0.001, 0.005, 4)(3)) is float
    assert type(policy(0.001, 0.005, 4)(np.int32(3))) is float
    assert type(constant(0.01)(3)) is float


@EVERY_POLICY
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float32, np.float64])
def test_an_array_gives_float64_of_the_same_shape(policy: Policy, dtype: type) -> None:
    lr = policy(0.001, 0.005, 4)
    values = lr(np.arange(6, dtype=dtype).reshape(2, 3))
    assert values.dtype == np.float64
    assert values.tolist() == [[lr(0), lr(1), lr(2)], [lr(3), lr(4), lr(5)]]


@EVERY_POLICY
def test_no_updates_give_no_rates(policy: Policy) -> None:
    assert policy(0.001, 0.005, 4)(np.arange(0)).shape == (0,)


@EVERY_POLICY
@given(pair=bounds, step=half_cycles, i=iterations)
def test_the_rate_stays_within_the_bounds(
    policy: Policy, pair: tuple[float, float], step: int, i: int
) -> None:
    base, peak = pair
    assert base * (1 - 1e-12) <= policy(base, peak, step)(i) <= peak * (1 + 1e-12)


@EVERY_POLICY
@given(pair=bounds, step=half_cycles, number=st.integers(0, 20))
def test_the_rate_returns_to_base_after_every_full_cycle(
    policy: Policy, pair: tuple[float, float], step: int, number: int
) -> None:
    base, peak = pair
    assert policy(base, peak, step)(2 * step * number) == near(base)


@given(pair=bounds, step=half_cycles, i=iterations)
def test_triangular_has_a_period_of_two_half_cycles(
    pair: tuple[float, float], step: int, i: int
) -> None:
    base, peak = pair
    lr = triangular(base, peak, step)
    assert lr(i + 2 * step) == pytest.approx(lr(i), abs=1e-9 * peak)


@given(pair=bounds, step=half_cycles, number=st.integers(0, 20))
def test_triangular_peaks_at_max_lr_halfway_through_every_cycle(
    pair: tuple[float, float], step: int, number: int
) -> None:
    base, peak = pair
    assert triangular(base, peak, step)((2 * number + 1) * step) == near(peak)


@given(pair=bounds, step=st.integers(2, 5_000), part=st.floats(0, 1))
def test_triangular_is_linear_on_both_sides_of_its_peak(
    pair: tuple[float, float], step: int, part: float
) -> None:
    base, peak = pair
    lr = triangular(base, peak, step)
    expected = pytest.approx(base + (peak - base) * part, abs=1e-9 * peak)
    assert lr(part * step) == expected
    assert lr((2 - part) * step) == expected


@given(pair=bounds, step=half_cycles, number=st.integers(0, 20))
def test_the_peak_of_triangular2_is_halved_with_each_cycle(
    pair: tuple[float, float], step: int, number: int
) -> None:
    base, peak = pair
    at_peak = triangular2(base, peak, step)((2 * number + 1) * step)
    assert at_peak == near(base + (peak - base) / 2**number)


@given(pair=bounds, step=half_cycles, number=st.integers(0, 20), gamma=st.floats(0.9, 1))
def test_the_peak_of_exp_range_is_scaled_by_gamma_to_the_updates_made(
    pair: tuple[float, float], step: int, number: int, gamma: float
) -> None:
    base, peak = pair
    i = (2 * number + 1) * step
    expected = base + (peak - base) * math.pow(gamma, i)
    assert exp_range(base, peak, step, gamma)(i) == near(expected)


def test_exp_range_is_rounded_as_by_the_c_library_whatever_the_processor() -> None:
    rates = exp_range(1e-4, 1e-3, 1, gamma=0.99994)(np.arange(20_000))
    at_peaks = [1e-4 + (1e-3 - 1e-4) * math.pow(0.99994, i) for i in range(1, 20_000, 2)]
    assert rates[1::2].tolist() == at_peaks


@given(pair=bounds, step=half_cycles, i=iterations)
def test_exp_range_with_gamma_one_is_triangular(
    pair: tuple[float, float], step: int, i: int
) -> None:
    assert exp_range(*pair, step, gamma=1)(i) == triangular(*pair, step)(i)


@EVERY_POLICY
@pytest.mark.parametrize("wrong", [0, -0.001, math.nan, math.inf, -math.inf])
def test_a_bound_that_is_no_positive_number_is_refused_by_name(
    policy: Policy, wrong: float
) -> None:
    with pytest.raises(InputError, match=f"^base_lr must be a positive number, but is {wrong}$"):
        policy(wrong, 0.005, 4)
    with pytest.raises(InputError, match=f"^max_lr must be a positive number, but is {wrong}$"):
        policy(0.001, wrong, 4)


@pytest.mark.parametrize("wrong", [0, -0.001, math.nan, math.inf])
def test_a_constant_rate_that_is_no_positive_number_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=f"^learning_rate must be .* positive .* {wrong}$"):
        constant(wrong)


@EVERY_POLICY
@pytest.mark.parametrize("peak", [0.005, 0.001])
def test_bounds_that_do_not_rise_are_refused_with_both_values(policy: Policy, peak: float) -> None:
    with pytest.raises(InputError, match=rf"0\.005 >= {peak}"):
        policy(0.005, peak, 4)


@EVERY_POLICY
@pytest.mark.parametrize("step", [0, -1])
def test_a_half_cycle_of_no_update_is_refused(policy: Policy, step: int) -> None:
    with pytest.raises(InputError, match=f"^step_size must be at least 1 update, but is {step}$"):
        policy(0.001, 0.005, step)


@pytest.mark.parametrize("gamma", [0, -0.5, 1.0000001, math.nan, math.inf])
def test_a_gamma_outside_zero_to_one_is_refused(gamma: float) -> None:
    with pytest.raises(InputError, match=f"^gamma must lie in .*, but is {gamma}$"):
        exp_range(0.001, 0.005, 4, gamma)


# A scale of one's own, called with one number at a time


def test_a_function_of_the_cycle_scales_the_amplitude_of_each_cycle() -> None:
    lr = scaled(0.001, 0.005, 4, lambda number: 1 / number)
    # peaks of 0.001 + 0.004 / cycle at the updates 4, 12 and 20; half of that two updates earlier
    assert [lr(i) for i in (4, 12, 20)] == pytest.approx([0.005, 0.003, 0.001 + 0.004 / 3])
    assert [lr(i) for i in (2, 10, 18)] == pytest.approx([0.003, 0.002, 0.001 + 0.002 / 3])


def test_a_function_of_the_iteration_scales_the_amplitude_of_each_update() -> None:
    lr = scaled(0.001, 0.005, 4, lambda i: i / 8, scale_of="iteration")
    # 0.004 times 1 - x = 0, 1/2, 1, 1/2, 1 times i / 8 = 0, 1/4, 1/2, 3/4, 3/2
    assert [lr(i) for i in (0, 2, 4, 6, 12)] == pytest.approx([0.001, 0.0015, 0.003, 0.0025, 0.007])


@given(pair=bounds, step=st.integers(50, 5_000), updates=st.lists(iterations, max_size=30))
def test_ones_own_halving_by_the_cycle_is_triangular2(
    pair: tuple[float, float], step: int, updates: list[int]
) -> None:
    i = np.array(updates, dtype=np.int64)
    own = scaled(*pair, step, lambda number: 1 / 2 ** (number - 1))
    np.testing.assert_allclose(own(i), triangular2(*pair, step)(i), rtol=1e-15)


@given(
    pair=bounds,
    step=half_cycles,
    updates=st.lists(iterations, max_size=30),
    gamma=st.floats(0.99, 1),
)
def test_ones_own_power_of_the_iteration_is_exp_range(
    pair: tuple[float, float], step: int, updates: list[int], gamma: float
) -> None:
    i = np.array(updates, dtype=np.int64)
    own = scaled(*pair, step, lambda iteration: gamma**iteration, scale_of="iteration")
    np.testing.assert_allclose(own(i), exp_range(*pair, step, gamma)(i), rtol=1e-13)


@pytest.mark.parametrize(
    ("scale_of", "expected"), [("cycle", [1, 2, 3]), ("iteration", [0, 1, 2, 3, 8, 9, 16])]
)
def test_a_scale_is_called_once_with_each_plain_number_there_is(
    scale_of: str, expected: list[float]
) -> None:
    seen: list[float] = []

    def scale(value: float) -> float:
        seen.append(value)
        return 1.0

    scaled(0.001, 0.005, 4, scale, scale_of)(np.array([9, 0, 1, 2, 3, 8, 16, 9]))
    assert seen == expected
    assert {type(value) for value in seen} <= {int, float}


def test_a_scale_may_branch_and_use_the_math_module() -> None:
    lr = scaled(0.001, 0.005, 4, lambda number: math.sqrt(number) if number > 1 else 0)
    assert [lr(i) for i in (4, 12)] == pytest.approx([0.001, 0.001 + 0.004 * math.sqrt(2)])


@pytest.mark.parametrize("scale_of", ["cycle", "iteration"])
def test_ones_own_scale_gives_floats_and_arrays_of_the_same_shape(scale_of: str) -> None:
    lr = scaled(0.001, 0.005, 4, lambda value: 1 / (1 + value), scale_of)
    assert type(lr(3)) is float
    assert lr(np.arange(0)).shape == (0,)
    assert lr(np.arange(6).reshape(2, 3)).tolist() == [[lr(0), lr(1), lr(2)], [lr(3), lr(4), lr(5)]]


def scale_refusal(scale: Callable[[float], object], scale_of: str = "cycle") -> str:
    """Return the one-line error of rates that are scaled so."""
    with pytest.raises(InputError) as caught:
        scaled(0.001, 0.005, 4, scale, scale_of)(np.arange(20))  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1.0, -1e-300])
def test_a_scale_that_gives_no_finite_number_from_zero_on_is_refused_where_it_does(
    wrong: float,
) -> None:
    assert scale_refusal(lambda number: wrong if number == 2 else 1.0) == (
        f"the scale function gives {wrong} at cycle 2: it must give a finite number, at least 0"
    )
    assert f"gives {wrong} at iteration 17: it must" in scale_refusal(
        lambda i: wrong if i == 17 else 1.0, "iteration"
    )


@pytest.mark.parametrize("wrong", ["half", "", None, [0.5], 1j, 10**400])
def test_a_scale_that_gives_no_number_at_all_is_refused(wrong: object) -> None:
    assert scale_refusal(lambda _: wrong).startswith("the scale function fails at cycle 1 (")


def test_a_scale_that_fails_is_refused_with_its_own_error() -> None:
    assert scale_refusal(lambda number: 1 / abs(number - 3)) == (
        "the scale function fails at cycle 3 (ZeroDivisionError: float division by zero)"
    )
    assert "(TypeError: " in scale_refusal(lambda: 1)  # type: ignore[arg-type, misc]


def test_a_scale_that_fails_at_length_is_still_refused_in_one_line() -> None:
    def scale(_: float) -> float:
        raise ValueError("too deep:\n  first\n  second")

    assert "too deep:" in scale_refusal(scale)


# Batch sizes


@pytest.mark.parametrize(
    ("spacing", "order", "expected"),
    [
        ("exponential", "ascending", (16, 32, 64, 128, 256)),
        ("exponential", "descending", (256, 128, 64, 32, 16)),
        ("linear", "ascending", (16, 76, 136, 196, 256)),  # steps of 240 / 4
        ("linear", "descending", (256, 196, 136, 76, 16)),
    ],
)
def test_a_batch_cycle_has_its_sizes_in_the_asked_spacing_and_order(
    spacing: str, order: str, expected: tuple[int, ...]
) -> None:
    assert batch_cycle(16, 256, spacing, order) == expected


def test_sizes_in_equal_steps_are_rounded_to_whole_numbers() -> None:
    # 5, 16.67, 28.33, 40
    assert batch_cycle(5, 40, "linear", "ascending") == (5, 17, 28, 40)
    assert {type(size) for size in batch_cycle(5, 40, "linear", "descending")} == {int}


@pytest.mark.parametrize("spacing", ["exponential", "linear"])
@given(bmin=st.integers(1, 1_000), doublings=st.integers(0, 10))
def test_every_spacing_rises_from_bmin_to_bmax_in_as_many_sizes_and_falls_by_the_same(
    spacing: str, bmin: int, doublings: int
) -> None:
    bmax = bmin * 2**doublings
    rising = batch_cycle(bmin, bmax, spacing, "ascending")
    assert len(rising) == doublings + 1
    assert (rising[0], rising[-1]) == (bmin, bmax)
    assert all(low < high for low, high in pairwise(rising))
    assert batch_cycle(bmin, bmax, spacing, "descending") == rising[::-1]


@given(bmin=st.integers(1, 1_000), doublings=st.integers(1, 10))
def test_linear_sizes_are_less_than_one_from_equal_steps(bmin: int, doublings: int) -> None:
    sizes = batch_cycle(bmin, bmin * 2**doublings, "linear", "ascending")
    step = bmin * (2**doublings - 1) / doublings
    assert all(abs(size - bmin - place * step) <= 0.5 for place, size in enumerate(sizes))


@pytest.mark.parametrize("spacing", ["exponential", "linear"])
def test_a_batch_cycle_whose_bmax_no_doubling_reaches_is_refused(spacing: str) -> None:
    with pytest.raises(InputError, match=r"power of two, but bmin is 16 and bmax is 48$"):
        batch_cycle(16, 48, spacing, "ascending")


def test_the_rate_follows_the_batch_size_linearly_or_by_its_root() -> None:
    linear = batch_scaled(0.0025, 16)
    assert [linear(size) for size in (16, 32, 64, 256)] == [0.0025, 0.005, 0.01, 0.04]
    root = batch_scaled(0.0025, 16, "sqrt")
    assert [root(size) for size in (16, 64, 256)] == [0.0025, 0.005, 0.01]
    assert root(32) == pytest.approx(0.0025 * math.sqrt(2))


@given(rate=rates, bmin=sizes, factor=st.integers(1, 64))
def test_the_rate_of_an_example_stays_under_the_linear_rule_and_of_its_root_under_the_other(
    rate: float, bmin: int, factor: int
) -> None:
    assert batch_scaled(rate, bmin)(bmin * factor) == near(rate * factor)
    squared = batch_scaled(rate, bmin, "sqrt")(bmin * factor) ** 2
    assert squared == near(rate**2 * factor)


@pytest.mark.parametrize("wrong", [0, -0.01, math.nan, math.inf])
def test_a_rate_at_bmin_that_is_no_positive_number_is_refused(wrong: float) -> None:
    with pytest.raises(InputError, match=f"^lr_at_bmin must be a positive number, but is {wrong}$"):
        batch_scaled(wrong, 16)


def test_one_cycle_of_batch_sizes_doubles_from_bmin_to_bmax() -> None:
    assert exponential_batches(16, 256) == [16, 32, 64, 128, 256]
    assert exponential_batches(16, 64) == [16, 32, 64]
    assert exponential_batches(3, 24) == [3, 6, 12, 24]
    assert exponential_batches(64, 64) == [64]
    assert exponential_batches(1, 2) == [1, 2]


@given(bmin=st.integers(1, 10_000), doublings=st.integers(0, 20))
def test_every_batch_size_of_a_cycle_is_twice_the_one_before(bmin: int, doublings: int) -> None:
    batches = exponential_batches(bmin, bmin * 2**doublings)
    assert batches == [bmin * 2**power for power in range(doublings + 1)]


@pytest.mark.parametrize(
    ("bmin", "bmax"),
    [(16, 48), (16, 96), (16, 100), (64, 16), (16, 0), (16, -16), (0, 16), (-16, 64), (-16, -64)],
)
def test_bmax_that_is_not_bmin_times_a_power_of_two_is_refused(bmin: int, bmax: int) -> None:
    with pytest.raises(InputError, match=f"power of two, but bmin is {bmin} and bmax is {bmax}$"):
        exponential_batches(bmin, bmax)


@given(bmin=st.integers(-5, 300), bmax=st.integers(-5, 3_000))
def test_a_batch_cycle_ends_at_bmax_or_is_refused(bmin: int, bmax: int) -> None:
    valid = bmin >= 1 and any(bmin * 2**power == bmax for power in range(13))
    if valid:
        assert exponential_batches(bmin, bmax)[-1] == bmax
    else:
        with pytest.raises(InputError):
            exponential_batches(bmin, bmax)


# Epochs cut into updates


def test_the_last_update_of_an_epoch_takes_the_examples_that_are_left() -> None:
    assert update_boundaries(10, repeat(4)).tolist() == [0, 4, 8, 10]
    assert update_boundaries(8, repeat(4)).tolist() == [0, 4, 8]
    assert update_boundaries(3, repeat(4)).tolist() == [0, 3]


def test_boundaries_are_int32_as_the_training_graph_takes_them() -> None:
    assert update_boundaries(10, repeat(4)).dtype == np.int32


def test_updates_take_their_sizes_in_turn() -> None:
    assert update_boundaries(20, iter([1, 2, 4, 8, 16])).tolist() == [0, 1, 3, 7, 15, 20]


def test_no_size_is_drawn_that_the_epoch_does_not_need() -> None:
    drawn = iter([4, 4, 99])
    update_boundaries(8, drawn)
    assert next(drawn) == 99


def test_the_published_sizes_give_the_published_numbers_of_updates() -> None:
    [(_, cuts)] = epoch_plan(60_000, 1, [64], [1])
    assert len(cuts) - 1 == 938
    assert cuts[-1] - cuts[-2] == 60_000 - 937 * 64
    plan = epoch_plan(60_000, 10, [16 << power for power in range(10)], [1])
    updates = [3750, 1875, 938, 469, 235, 118, 59, 30, 15, 8]
    assert [len(cuts) - 1 for _, cuts in plan] == updates


@given(examples=st.integers(1, 2_000), epochs=st.integers(1, 5), batches=cycles, groups=cycles)
def test_every_epoch_takes_every_example_exactly_once(
    examples: int, epochs: int, batches: list[int], groups: list[int]
) -> None:
    order = np.arange(examples)
    plan = epoch_plan(examples, epochs, batches, groups)
    assert len(plan) == epochs
    for _, cuts in plan:
        updates = [order[start:end] for start, end in pairwise(cuts)]
        assert min(len(update) for update in updates) >= 1
        assert np.concatenate(updates).tolist() == order.tolist()


@given(examples=st.integers(1, 2_000), size=sizes)
def test_every_update_but_the_last_is_a_full_batch(examples: int, size: int) -> None:
    [(batch, cuts)] = epoch_plan(examples, 1, [size], [1])
    taken = np.diff(cuts).tolist()
    assert batch == size
    assert taken[:-1] == [size] * (math.ceil(examples / size) - 1)
    assert 1 <= taken[-1] <= size


def test_the_batch_size_cycles_from_epoch_to_epoch() -> None:
    plan = epoch_plan(100, 5, [16, 32, 64], [1])
    assert [size for size, _ in plan] == [16, 32, 64, 16, 32]
    assert [np.diff(cuts).tolist() for _, cuts in plan[1:4]] == [
        [32, 32, 32, 4],
        [64, 36],
        [16, 16, 16, 16, 16, 16, 4],
    ]


def test_accumulation_goes_on_across_epochs_and_a_partial_group_counts_as_a_step() -> None:
    plan = epoch_plan(20, 3, [2], [1, 2, 3, 4])
    groups = [np.diff(cuts).tolist() for _, cuts in plan]
    # 2 + 4 + 6 + 8 fill the first epoch; then k runs 1, 2, 3, 4 again
    assert groups == [[2, 4, 6, 8], [2, 4, 6, 8], [2, 4, 6, 8]]
    plan = epoch_plan(9, 3, [2], [1, 2, 3, 4])
    groups = [np.diff(cuts).tolist() for _, cuts in plan]
    # k = 1, 2, 3 (cut to 3 examples); then 4, 1 (cut to 1); then 2, 3 (cut to 5)
    assert groups == [[2, 4, 3], [8, 1], [4, 5]]


def test_a_constant_accumulation_applies_its_partial_group() -> None:
    [(_, cuts)] = epoch_plan(60_000, 1, [256], [16])
    assert np.diff(cuts).tolist() == [4096] * 14 + [60_000 - 14 * 4096]


@given(examples=st.integers(1, 1_000), epochs=st.integers(1, 6), batches=cycles, groups=cycles)
def test_update_u_of_a_training_averages_the_uth_number_of_micro_batches(
    examples: int, epochs: int, batches: list[int], groups: list[int]
) -> None:
    counts = cycle(groups)
    for size, cuts in epoch_plan(examples, epochs, batches, groups):
        *whole, last = np.diff(cuts).tolist()
        assert whole == [size * next(counts) for _ in whole]
        assert 1 <= last <= size * next(counts)


@given(examples=st.integers(1, 255), epochs=st.integers(1, 4), groups=cycles)
def test_where_the_data_are_smaller_than_a_group_a_group_is_the_epoch(
    examples: int, epochs: int, groups: list[int]
) -> None:
    assume(min(groups) * 256 > examples)
    plan = epoch_plan(examples, epochs, [256], groups)
    assert [cuts.tolist() for _, cuts in plan] == [[0, examples]] * epochs


def test_a_training_of_no_epoch_has_an_empty_plan() -> None:
    assert epoch_plan(100, 0, [16], [1]) == []


# The ramp of a range test


def test_an_exponential_ramp_takes_as_long_for_every_decade_and_stays_at_its_top() -> None:
    lr = exponential(1e-4, 1e-1, 30)
    assert lr(np.array([0, 10, 20, 29, 30, 31, 90])).tolist() == near(
        [1e-4, 1e-3, 1e-2, 1e-2 * 10**0.9, 1e-1, 1e-1, 1e-1]
    )
    assert lr(30) == 0.1


@given(pair=bounds, step=half_cycles, share=st.floats(0, 1))
def test_each_update_of_an_exponential_ramp_multiplies_by_the_same_factor(
    pair: tuple[float, float], step: int, share: float
) -> None:
    lr, i = exponential(*pair, step), int(share * (step - 1))
    assert lr(i + 1) / lr(i) == near((pair[1] / pair[0]) ** (1 / step))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.1, 5), "base_lr must be a positive number"),
        ((0.1, 0.1, 5), "lr_min must be below lr_max"),
        ((0.01, 0.1, 0), "step_size must be at least 1 update"),
    ],
)
def test_an_exponential_ramp_that_does_not_rise_is_refused(
    arguments: tuple[float, float, int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        exponential(*arguments)
