"""Which algorithm computes a convolution: by a model of its cost, or by trying."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from cnn.backends.cpu.conv_algorithms import Algorithm
from cnn.backends.cpu.conv_problem import PIECE_BYTES, ConvProblem
from cnn.backends.cpu.product_kernels import DEPTH
from cnn.backends.cpu.vectors import AVX2, AVX512, NEON, SSE, Tile, host_tile

# With a constant filter, whose form is made once, the forward pass is called inference.
FORWARD, INFERENCE, FILTER_GRADIENT = "forward", "inference", "filter_gradient"
AUTO, TUNE = "auto", "tune"
# Runs of each algorithm when trying, of which the median counts; the first only warms up.
_TRIES = 3


class Costs(NamedTuple):
    """The cost model: nanoseconds on one core.

    Only ratios matter, and they are fixed for a width of vectors: the choice follows from the shape alone, so that a
    run repeats. `python -m benchmarks.cpu_convolutions` shows what is chosen beside what is fastest; with --fit it
    prints these numbers for the processor that it runs on.
    """

    mac: float  # of a product whose tiles are full
    tile_terms: float  # terms' worth of a tile's beginning and end
    prepared: float  # per byte of padded or unrolled input
    packed: float  # per byte of a filter, each time that it is packed
    transformed: float  # per byte of Winograd's tiles
    form: float  # per byte of a filter's transform: to make it
    reading: float  # per byte of packed weights, to read them for a piece of the batch
    gathered: float  # per byte of a filter's gradient in the algorithm's form


# Fitted to the times of our networks' layers at batch 1, 4 and 64.
_AVX2 = Costs(0.022, 3, 0.06, 0.1, 0.182, 0.1, 0.073, 0.2)
# What was not measured has the same passes over memory and the products by the processor's peak: vectors of 64 bytes
# compute twice as much at a time, those of 16 bytes half, and without fused multiply-adds half of that.
COSTS: Mapping[Tile, Costs] = {
    AVX2: _AVX2,
    AVX512: _AVX2._replace(mac=_AVX2.mac / 2),
    NEON: _AVX2._replace(mac=_AVX2.mac * 2),
    SSE: _AVX2._replace(mac=_AVX2.mac * 4),
}


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


def cost(name: str, kind: str, problem: ConvProblem, tile: Tile | None = None, costs: Costs | None = None) -> float:
    """Estimated nanoseconds of `name` on one core; of this processor, if no other's tile and costs are given."""
    tile = tile or host_tile()
    costs = costs or COSTS[tile]
    window, (p, q) = problem.window, problem.window.output_hw
    if name == "depthwise":
        return 0.0  # the others' products would be a single column wide
    depth, filters = problem.channels // problem.groups, problem.filters // problem.groups
    pixels, size = problem.batch * p * q, problem.itemsize
    if name.startswith("winograd"):
        m = int(name.removeprefix("winograd"))
        elements, rows, terms, runs = (m + 2) ** 2, problem.batch * -(-p // m) * -(-q // m), depth, 1
        form = elements * depth * filters
        products, scratch = float(rows * form), elements * rows * (problem.channels + problem.filters)
        moving, making = costs.transformed * size * scratch, costs.form
    else:
        one_run = window.dilation[1] == 1 and problem.groups == 1
        runs = 1 if name == "im2col" else window.kernel[0] if one_run else window.taps
        rows, terms, form = pixels, depth * window.taps // runs, window.taps * depth * problem.filters
        products, padded = float(problem.macs), window.padded_hw[0] * window.padded_hw[1]
        scratch = problem.batch * padded * problem.channels
        if name == "im2col":
            scratch += pixels * window.taps * problem.channels
        moving, making = costs.prepared * size * scratch, costs.packed
    if kind == FILTER_GRADIENT:
        rows, terms = terms, rows  # its sums run over the rows
        moving += costs.gathered * size * form
    else:
        pieces = max(1.0, size * scratch / PIECE_BYTES)
        if kind == FORWARD:
            moving += making * size * form * (1 if name.startswith("winograd") else pieces)
        moving += costs.reading * size * form * pieces
    filled = _filled(rows, tile.rows) * _filled(filters, tile.columns(size))
    return costs.mac * products * filled * (1 + costs.tile_terms / min(terms, DEPTH)) + moving


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
