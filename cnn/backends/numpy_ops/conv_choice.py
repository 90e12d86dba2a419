"""Which algorithm computes a convolution: by a model of its cost, or by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from cnn.backends.numpy_ops.conv_algorithms import Algorithm
from cnn.backends.numpy_ops.conv_problem import PIECE_BYTES, ConvProblem

# With a constant filter, whose form is made once, the forward pass is called inference.
FORWARD, INFERENCE, FILTER_GRADIENT = "forward", "inference", "filter_gradient"
AUTO, TUNE = "auto", "tune"
# Runs of each algorithm when trying, of which the median counts; the first only warms up.
_TRIES = 3

# The cost model: nanoseconds on one core of a processor with AVX2. Only ratios matter, and they are fixed: the choice
# follows from the shape alone, on every machine, so that a run repeats. Fitted by hand to measurements of single
# layers; `python -m benchmarks.cpu_convolutions` shows what it chooses beside what is fastest.
_NS_PER_MAC = 0.024  # of a large product
# A product with so many rows, columns or terms takes twice its share: what is read for it serves few.
_ROWS, _COLUMNS, _TERMS = 8, 5, 20
_IM2COL_NS, _SHIFTED_NS = 0.16, 0.02  # per byte of unrolled windows; of sums, for each tap
_WINOGRAD_NS = {True: 0.13, False: 0.5}  # per byte of transformed tiles: compiled, and in plain NumPy
_FORM_NS, _FILTER_NS = 0.1, 0.15  # per byte of a filter's form: to make it, and to read it for a piece of the batch


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
    window, (p, q) = problem.window, problem.window.output_hw
    if name == "depthwise":
        return 0.0  # the others' products would be a single column wide
    pixels, depth, filters = problem.batch * p * q, problem.channels / problem.groups, problem.filters / problem.groups
    rows, terms, products, form = float(pixels), depth, float(problem.macs), window.taps * depth * problem.filters
    if name == "im2col":
        terms = depth * window.taps
        scratch = 4.0 * pixels * window.taps * problem.channels
        moving = 0.0 if window.taps == 1 and problem.is_plain else _IM2COL_NS * scratch
    elif name == "shifted":
        products *= window.padded_hw[0] * window.padded_hw[1] / (p * q)
        scratch = 4.0 * pixels * (problem.channels + problem.filters)
        moving = _SHIFTED_NS * 2 * 4.0 * pixels * problem.filters * window.taps
    else:
        m = int(name.removeprefix("winograd"))
        elements, tiles = (m + 2) ** 2, problem.batch * -(-p // m) * -(-q // m)
        rows, form = float(tiles), elements * depth * problem.filters
        products = tiles * form
        scratch = 4.0 * elements * tiles * (problem.channels + problem.filters)
        moving = _WINOGRAD_NS[compiled] * scratch
    if way == FILTER_GRADIENT:  # its sums run over the rows
        rows, terms = terms, rows
    narrow = (1 + _ROWS / rows) * (1 + _COLUMNS / filters) * (1 + _TERMS / terms)
    reading = _FILTER_NS * max(1.0, scratch / PIECE_BYTES) + (_FORM_NS if way == FORWARD else 0.0)
    return _NS_PER_MAC * products * narrow + moving + reading * 4 * form


def _seconds(run: Callable[[], Any]) -> float:
    taken = []
    for _ in range(_TRIES + 1):
        begin = time.perf_counter()
        run()
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])
