"""Selects the algorithm of a convolution: by a cost model, or by timing all algorithms."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any, NamedTuple

from cnn.backends.cpu.conv_algorithms import Algorithm
from cnn.backends.cpu.conv_problem import CHUNK_BYTES, ConvProblem
from cnn.backends.cpu.product_kernels import DEPTH
from cnn.backends.cpu.vectors import AVX2, AVX512, NEON, SSE, Tile, host_tile

# The passes. A forward pass with a constant filter, which is packed only once, is called inference.
FORWARD, INFERENCE, FILTER_GRADIENT = "forward", "inference", "filter_gradient"
AUTO, TUNE = "auto", "tune"
# Timed runs of each algorithm, of which the median counts; one more run before them warms up.
_TRIES = 3


class Costs(NamedTuple):
    """The cost model: nanoseconds on one core.

    Only their ratios matter. They are constants for a vector width, so the selection depends only on the shape, and a
    run repeats. `python -m benchmarks.cpu_convolutions` compares the selected algorithm with the fastest; with --fit it
    prints these numbers for the processor on which it runs.
    """

    mac: float  # per multiply-accumulate of a product with full tiles
    tile_terms: float  # overhead of a tile, in terms of its sums
    prepared: float  # per byte of padded or unrolled input
    packed: float  # per byte of a filter, each time that it is packed
    transformed: float  # per byte of Winograd's tiles
    form: float  # per byte of a filter's Winograd transform: to compute it
    reading: float  # per byte of packed weights: to read them for a chunk of the batch
    gathered: float  # per byte of a packed weight gradient


# Fitted to the times of our networks' layers at batch 1, 4, 16 and 64 on an AMD EPYC (Zen 3).
_AVX2 = Costs(0.0304, 2.5, 0.0747, 0.0738, 0.371, 0.412, 0.0625, 1.23)
# The others were not measured: their memory passes are as for AVX2, and their products are scaled by the peak of the
# processor: twice for vectors of 64 bytes, half for those of 16 bytes, and half of that without fused multiply-add.
COSTS: Mapping[Tile, Costs] = {
    AVX2: _AVX2,
    AVX512: _AVX2._replace(mac=_AVX2.mac / 2),
    NEON: _AVX2._replace(mac=_AVX2.mac * 2),
    SSE: _AVX2._replace(mac=_AVX2.mac * 4),
}


class AlgorithmSelector:
    """Selects an algorithm for each problem, and caches the selection.

    `policy` is `auto` (the cost model), `tune` (the first call of each shape times all algorithms that support it, on
    the data of that call), or the name of an algorithm, which is selected for every shape that it supports.
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.cache: dict[tuple[str, ConvProblem], str] = {}

    def select(
        self,
        kind: str,
        problem: ConvProblem,
        algorithms: Mapping[str, Algorithm],
        attempt: Callable[[Algorithm], Any],
    ) -> Algorithm:
        """The algorithm for the pass `kind` of `problem`; `attempt` runs the problem once with a given algorithm."""
        key = (kind, problem)
        if key not in self.cache:
            supported = {name: each for name, each in algorithms.items() if each.supports(problem)}
            if self.policy in supported:
                self.cache[key] = self.policy
            elif self.policy == TUNE and len(supported) > 1:
                self.cache[key] = min(supported, key=lambda name: _seconds(lambda: attempt(supported[name])))
            else:
                self.cache[key] = min(supported, key=lambda name: cost(name, kind, problem))
        return algorithms[self.cache[key]]

    def record(self) -> list[dict[str, Any]]:
        """The selections, one row per pass and shape, for the folder of a run."""
        return [
            {
                "pass": kind,
                "batch": problem.batch,
                "input": [*problem.window.input_hw, problem.channels],
                "filters": problem.filters,
                "kernel": list(problem.window.kernel),
                "algorithm": name,
            }
            for (kind, problem), name in self.cache.items()
        ]


def cost(name: str, kind: str, problem: ConvProblem, tile: Tile | None = None, costs: Costs | None = None) -> float:
    """Estimated nanoseconds of the algorithm `name` for the pass `kind` on one core.

    `tile` and `costs` are those of this processor by default.
    """
    tile = tile or host_tile()
    costs = costs or COSTS[tile]
    window, (p, q) = problem.window, problem.window.output_hw
    if name == "depthwise":
        return 0.0  # the products of the others would have a single column
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
        chunks = max(1.0, size * scratch / CHUNK_BYTES)
        if kind == FORWARD:
            moving += making * size * form * (1 if name.startswith("winograd") else chunks)
        moving += costs.reading * size * form * chunks
    filled = _filled(rows, tile.rows) * _filled(filters, tile.columns(size))
    return costs.mac * products * filled * (1 + costs.tile_terms / min(terms, DEPTH)) + moving


def _filled(size: int, step: int) -> float:
    """The factor by which `size` grows when it is rounded up to a multiple of `step`."""
    return -(-size // step) * step / size


def _seconds(run: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(_TRIES + 1):
        begin = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - begin)
    return median(seconds[1:])
