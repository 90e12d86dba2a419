"""Which algorithm computes a convolution: by a model of its cost, or by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from cnn.backends.cpu.conv_algorithms import Algorithm
from cnn.backends.cpu.conv_problem import PIECE_BYTES, ConvProblem

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
    tile_terms: float  # terms' worth of a tile's beginning and end
    unrolled: float  # per byte of padded or unrolled input
    transformed: float  # per byte of Winograd's tiles
    form: float  # per byte of a filter's form: to make it
    reading: float  # and to read it for a piece of the batch
    gathered: float  # per byte of a filter gradient in the algorithm's form


# Fitted to the times of our networks' layers at batch 1, 4 and 64.
_COSTS = _Costs(0.022, 3, 0.03, 0.182, 0.285, 0.073, 0.263)
_TILE_ROWS, _TILE_COLUMNS = 6, 16


class Choice:
    """Names an algorithm for each problem, and remembers what it said.

    `wanted` is `auto` (the cost model), `tune` (the first call of each shape tries all that support it, on its own
    data), or an algorithm's name, which is taken wherever it supports the shape.
    """

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
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
                self.made[key] = min(able, key=lambda name: cost(name, way, problem))
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


def cost(name: str, way: str, problem: ConvProblem) -> float:
    """Estimated nanoseconds of `name` on one core."""
    costs = _COSTS
    window, (p, q) = problem.window, problem.window.output_hw
    if name == "depthwise":
        return 0.0  # the others' products would be a single column wide
    depth, filters = problem.channels // problem.groups, problem.filters // problem.groups
    pixels = problem.batch * p * q
    rows, terms, products, form = pixels, depth, float(problem.macs), window.taps * depth * problem.filters
    if name == "im2col":
        terms = depth * window.taps
        scratch = 4.0 * pixels * window.taps * problem.channels
        moving = costs.unrolled * scratch
    elif name == "direct":
        one_run = window.dilation[1] == 1 and problem.groups == 1
        terms = depth * window.kernel[1] if one_run else depth
        scratch = 4.0 * problem.batch * window.padded_hw[0] * window.padded_hw[1] * problem.channels
        moving = costs.unrolled * scratch
    else:
        m = int(name.removeprefix("winograd"))
        elements, tiles = (m + 2) ** 2, problem.batch * -(-p // m) * -(-q // m)
        rows, form = tiles, elements * depth * problem.filters
        products = float(tiles * form)
        scratch = 4.0 * elements * tiles * (problem.channels + problem.filters)
        moving = costs.transformed * scratch
    if way == FILTER_GRADIENT:
        rows, terms = terms, rows  # its sums run over the rows
    narrow = _filled(rows, _TILE_ROWS) * _filled(filters, _TILE_COLUMNS) * (1 + costs.tile_terms / terms)
    if way == FILTER_GRADIENT:
        form_cost = costs.gathered
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
