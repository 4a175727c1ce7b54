"""Functions of the C library, value by value, for figures that have to be the same everywhere.

numpy computes these otherwise on a processor with AVX-512, and rounds a few values in a hundred to
the neighbour; nothing in a result's key tells such processors apart.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]


def power(base: ArrayLike, exponents: ArrayLike) -> Float64:
    """Return base^exponent of each pair.

    >>> power(2.0, [1, 3])
    array([2., 8.])
    """
    return np.asarray(np.vectorize(math.pow, otypes=[np.float64])(base, exponents))


def exp(values: ArrayLike) -> Float64:
    """Return e^value of each; e^(less than about -745) is 0.

    >>> exp([0.0, -1000.0])
    array([1., 0.])
    """
    return np.asarray(np.vectorize(math.exp, otypes=[np.float64])(values))


def log10(values: ArrayLike) -> Float64:
    """Return the logarithm to the base 10 of each; all must be above 0.

    >>> log10([0.001, 100.0])
    array([-3.,  2.])
    """
    return np.asarray(np.vectorize(math.log10, otypes=[np.float64])(values))
