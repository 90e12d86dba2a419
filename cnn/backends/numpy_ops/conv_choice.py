"""Which algorithm computes a convolution: by a model of its cost, or by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from cnn.backends.numpy_ops.conv_algorithms import Algorithm
from cnn.backends.numpy_ops.conv_problem import PIECE_BYTES, ConvProblem

# With a constant filter, whose form is made once, the forward pass is called inference.
FORWARD, INFERENCE, FILTER_GRADIENT = "forward", "inference", "filter_gradient"
AUTO, TUNE = "auto", "tune"
# Runs of each algorithm when trying, of which the median counts; the first only warms up.
_TRIES = 3


class _Costs(NamedTuple):
    """The cost model: nanoseconds on one core of a processor with AVX2.

    Only ratios matter, and they are fixed: the choice follows from the shape alone, on every machine, so that a run
    repeats. `python -m benchmarks.cpu_convolutions` shows what is chosen beside what is fastest.
    """

    mac: float  # of a large product
    # BLAS: a product with so many rows, columns or terms takes twice its share, since what is read for it serves few.
    rows: float
    columns: float
    terms: float
    tile_terms: float  # the same of the compiled product, whose rows and columns come in tiles instead
    unrolled: float  # per byte of im2col's windows
    shifted: float  # per byte of its sums, for each tap
    transformed: float  # per byte of Winograd's tiles
    form: float  # per byte of a filter's form: to make it
    reading: float  # and to read it for a piece of the batch
    gathered: float  # per byte of a filter gradient in the algorithm's form


# Fitted to the times of our networks' layers at batch 1, 4 and 64 (compiled), and by hand to six shapes (plain).
_COMPILED = _Costs(0.025, 22, 5, 20, 3, 0.03, 0.012, 0.182, 0.285, 0.073, 0.263)
_PLAIN = _Costs(0.024, 8, 5, 20, 0, 0.16, 0.02, 0.5, 0.1, 0.15, 0.15)
_TILE_ROWS, _TILE_COLUMNS = 6, 16


class Choice:
    """Names an algorithm for each problem, and remembers what it said.

    `wanted` is `auto` (the cost model), `tune` (the first call of each shape tries all that support it, on its own
    data), or an algorithm's name, which is taken wherever it supports the shape.
    """

    def __init__(self, wanted: str, compiled: bool) -> None:
        self.wanted, self.compiled = wanted, compiled
        self.made: dict[tuple[str, ConvProblem], str] = {}

    def choose(
        self,
        way: str,
        problem: ConvProblem,
        algorithms: Mapping[str, Algorithm],
        attempt: Callable[[Algorithm], Any],
    ) -> Algorithm:
        """The algorithm for `problem`; `attempt` computes it once with the one it is given."""
        key = (way, problem)
        if key not in self.made:
            able = {name: each for name, each in algorithms.items() if each.supports(problem)}
            if self.wanted in able:
                self.made[key] = self.wanted
            elif self.wanted == TUNE and len(able) > 1:
                self.made[key] = min(able, key=lambda name: _seconds(lambda: attempt(able[name])))
            else:
                self.made[key] = min(able, key=lambda name: cost(name, way, problem, self.compiled))
        return algorithms[self.made[key]]

    def record(self) -> list[dict[str, Any]]:
        """What was chosen, a row a shape, for a run's folder."""
        return [
            {
                "way": way,
                "batch": problem.batch,
                "input": [*problem.window.input_hw, problem.channels],
                "filters": problem.filters,
                "kernel": list(problem.window.kernel),
                "algorithm": name,
            }
            for (way, problem), name in self.made.items()
        ]


def cost(name: str, way: str, problem: ConvProblem, compiled: bool) -> float:
    """Estimated nanoseconds of `name` on one core."""
    costs = _COMPILED if compiled else _PLAIN
    window, (p, q) = problem.window, problem.window.output_hw
    if name == "depthwise":
        return 0.0  # the others' products would be a single column wide
    pixels, depth, filters = (
        problem.batch * p * q,
        problem.channels // problem.groups,
        problem.filters // problem.groups,
    )
    rows, terms, products, form = pixels, depth, float(problem.macs), window.taps * depth * problem.filters
    if name == "im2col":
        terms = depth * window.taps
        scratch = 4.0 * pixels * window.taps * problem.channels
        moving = 0.0 if window.taps == 1 and problem.is_plain else costs.unrolled * scratch
    elif name == "shifted":
        products *= window.padded_hw[0] * window.padded_hw[1] / (p * q)
        scratch = 4.0 * pixels * (problem.channels + problem.filters)
        moving = costs.shifted * 2 * 4.0 * pixels * problem.filters * window.taps
    else:
        m = int(name.removeprefix("winograd"))
        elements, tiles = (m + 2) ** 2, problem.batch * -(-p // m) * -(-q // m)
        rows, form = tiles, elements * depth * problem.filters
        products = float(tiles * form)
        scratch = 4.0 * elements * tiles * (problem.channels + problem.filters)
        moving = costs.transformed * scratch
    if compiled and way != FILTER_GRADIENT and name != "shifted" and problem.groups == 1:
        narrow = _filled(rows, _TILE_ROWS) * _filled(filters, _TILE_COLUMNS) * (1 + costs.tile_terms / terms)
    else:
        # A filter gradient's sums run over the rows.
        rows, terms = (terms, rows) if way == FILTER_GRADIENT else (rows, terms)
        narrow = (1 + costs.rows / rows) * (1 + costs.columns / filters) * (1 + costs.terms / terms)
    if way == FILTER_GRADIENT:
        # The others' gradients are summed in partial sums, each made, added to and added up.
        form_cost = costs.gathered * (1 if name.startswith("winograd") else 4)
    else:
        form_cost = costs.reading * max(1.0, scratch / PIECE_BYTES) + (costs.form if way == FORWARD else 0.0)
    return costs.mac * products * narrow + moving + form_cost * 4 * form


def _filled(size: int, step: int) -> float:
    """How much larger `size` becomes when it is rounded up to whole steps."""
    return -(-size // step) * step / size


def _seconds(run: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_TRIES + 1):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])
