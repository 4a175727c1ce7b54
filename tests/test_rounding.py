"""Figures that must not depend on which instructions numpy finds on a processor."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from cyclical import rounding
from tests import running

WIDEST = [name for name in __cpu_dispatch__ if name.startswith(("X86_V4", "AVX512"))]
COMPUTE = """
import hashlib
import numpy as np
import pandas as pd
from cyclical import clock, learning_clock, schedules
updates = np.arange(2579.0)
rates = schedules.exponential(1e-6, 10.0, 2579)(updates)
read = clock.smoothed_at(np.cumsum(rates), updates % 7, np.linspace(1e-5, 1, 50))
epochs = {"seed": 0, "epoch": updates, "updates": 1, "rate_sum": rates}
epochs |= {"from_start": False, "train_accuracy": updates}
swept = pd.DataFrame({"learning_rate": 0.1} | epochs)
status = pd.DataFrame({"learning_rate": [0.1], "train_accuracy": 0.5, "status": "learned"})
sizes = pd.DataFrame({"batch_size": updates + 1} | epochs | {"rate_sum": rates * 1.0001})
same = learning_clock.at_equal_sums(sizes, swept, status)["same_sum"].to_numpy()
shrinking = schedules.exp_range(1e-4, 1e-3, 200, 0.99994)(updates)
for each in (rates, read, same, shrinking):
    print(hashlib.sha256(each.tobytes()).hexdigest())
"""


def computed(**environment: str) -> list[str]:
    """Hash what a process of its own computes."""
    told = subprocess.run(
        [sys.executable, "-c", COMPUTE],
        env={**os.environ, "PYTHONPATH": str(running.ROOT), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()


def test_figures_are_the_same_without_the_widest_instructions() -> None:
    here = [name for name in WIDEST if __cpu_features__[name]]
    if not here:
        pytest.skip("this processor has no AVX-512")
    found = computed()
    assert len(found) == 4
    assert found == computed(NPY_DISABLE_CPU_FEATURES=" ".join(here))


def test_each_value_is_that_of_the_c_library() -> None:
    values = np.linspace(0.01, 20, 500)
    assert rounding.exp(values).tolist() == [math.exp(value) for value in values]
    assert rounding.log10(values).tolist() == [math.log10(value) for value in values]
    assert rounding.power(values, 3.3).tolist() == [math.pow(value, 3.3) for value in values]
