"""Winograd's minimal filtering: 3x3 convolutions with fewer multiplications.

Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, after Winograd 1980. F(m x m, 3 x 3) makes
a tile of m x m output pixels from t x t input pixels, t = m + 2, with t * t products per pair of channels where the
definition takes 9 * m * m: 2.25 times fewer for m = 2, four times for m = 4. The products of all tiles are t * t matrix
products, one for each element of a transformed tile. In matrices, with `o` for the element-wise product:

    y = A^T [(B^T x B) o (G w G^T)] A         forward, and backward to the input with the flipped filter
    dw = G^T [(B^T x B) o (A dy A^T)] G       the same bilinear form, solved for the filter's gradient

What it costs is accuracy: sums are of larger numbers than their result. docs/benchmarks/cpu.md has the figures.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

TAPS = 3
# Where the polynomials of the transforms are evaluated, infinity apart. For m = 4 the usual 0, +-1, +-2 have six times
# the largest error of these (float32, 128 channels of normal noise), whose powers stay nearer to one.
_POINTS = {2: ("0", "1", "-1"), 4: ("0", "2/3", "-2/3", "3/2", "-3/2")}


@dataclass(frozen=True)
class Transforms:
    """The three matrices of F(m x m, 3 x 3), float64: A (t, m), B (t, t), G (t, 3)."""

    m: int
    a: NDArray[np.float64]
    b: NDArray[np.float64]
    g: NDArray[np.float64]


@cache
def transforms(m: int) -> Transforms:
    """The matrices by the construction of Toom and Cook, exact in fractions until the end."""
    points = [Fraction(text) for text in _POINTS[m]]
    tile = m + TAPS - 1
    a, b, g = ([[Fraction(0)] * columns for _ in range(tile)] for columns in (m, tile, TAPS))
    for row, point in enumerate(points):
        others = [other for other in points if other != point]
        weight = Fraction(1)
        for other in others:
            weight *= point - other
        a[row] = [point**power for power in range(m)]
        g[row] = [point**power / weight for power in range(TAPS)]
        b[row] = _polynomial(others, tile)
    a[-1][-1], g[-1][-1], b[-1] = Fraction(1), Fraction(1), _polynomial(points, tile)
    exact = [np.array([[float(value) for value in row] for row in matrix]) for matrix in (a, b, g)]
    return Transforms(m, exact[0], np.ascontiguousarray(exact[1].T), exact[2])


def _polynomial(roots: list[Fraction], length: int) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest power first, with zeros up to `length`."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [s - c for s, c in zip(shifted, scaled, strict=True)]
    return coefficients + [Fraction(0)] * (length - len(coefficients))
