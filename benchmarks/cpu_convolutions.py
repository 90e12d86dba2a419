"""`python -m benchmarks.cpu_convolutions`: every algorithm of the CPU engine on the layers of our networks.

Shows the times, the algorithm that the cost model selects, and its time relative to the fastest. With --fit the
constants of the model are fitted to the times. Add those of a processor with another vector width to
`cnn/backends/cpu/conv_choice.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from benchmarks.cpu.cells import Cell
from benchmarks.cpu_vs_torch import MODELS
from cnn.backends import CONVOLUTIONS, get_ops
from cnn.backends.cpu.conv_choice import COSTS, FILTER_GRADIENT, FORWARD, INFERENCE, Costs, cost
from cnn.backends.cpu.conv_problem import ConvProblem
from cnn.backends.cpu.vectors import Tile, host_tile
from cnn.layers.conv2d import Conv2D
from cnn.reporting.provenance import collect_provenance
from foundation.files import write_json

_ROUNDS = 7
_TRIALS = 3000
_STEP_BYTES = 16 << 20  # the least bytes that a training step reads or writes between two uses of a filter
_PASSES = {FORWARD: "y", INFERENCE: "y, constant filter", FILTER_GRADIENT: "dw"}


def shapes(batch: int) -> list[ConvProblem]:
    """The 3x3 convolutions of our networks on 48x48 pixels, each once, without first layers of one channel."""
    found: dict[ConvProblem, None] = {}
    for name in MODELS:
        for node in Cell(name, batch, 1).build(get_ops("numpy")).graph.nodes:
            if isinstance(node.layer, Conv2D) and (channels := node.input_shape[2]) > 1:
                window = node.layer.window(node.input_shape)
                found[ConvProblem(batch, channels, node.layer.filters, window)] = None
    return list(found)


def measure(problem: ConvProblem, threads: int) -> dict[str, Any]:
    """Milliseconds of every algorithm forward, with a constant filter, and for the filter's gradient, in turns."""
    random = np.random.default_rng(0)
    size, window = problem.window.input_hw, problem.window
    x = random.standard_normal((problem.batch, *size, problem.channels), np.float32)
    w = random.standard_normal((*window.kernel, problem.channels, problem.filters), np.float32)
    dy = random.standard_normal((problem.batch, *window.output_hw, problem.filters), np.float32)
    row: dict[str, Any] = {
        "batch": problem.batch,
        "side": size[0],
        "channels": problem.channels,
        "filters": problem.filters,
        "threads": threads,
    }
    elsewhere = np.zeros(_STEP_BYTES, np.uint8)
    sides = {name: get_ops("cpu", threads, convolution=name) for name in CONVOLUTIONS}
    constants = {name: ops.constant(w) for name, ops in sides.items()}
    runs: dict[str, Callable[[str], Any]] = {
        FORWARD: lambda name: sides[name].conv2d(x, w, None, window, 1),
        INFERENCE: lambda name: sides[name].conv2d(x, constants[name], None, window, 1),
        FILTER_GRADIENT: lambda name: sides[name].conv2d_backward_filter(dy, x, window, 1),
    }
    for direction, run in runs.items():
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(_ROUNDS + 1):
            for name in sides:
                elsewhere += 1  # as in a step, the data of the layer is no longer in the caches of the core
                begin = time.perf_counter()
                run(name)
                taken[name].append(time.perf_counter() - begin)
        times = {name: 1e3 * min(each[1:]) for name, each in taken.items()}  # what else runs can only add
        chosen = min(sides, key=lambda name: cost(name, direction, problem))
        row[direction] = {"ms": times, "chosen": chosen, "loses": times[chosen] / min(times.values()) - 1}
    return row


def fitted(measured: Mapping[tuple[str, str, ConvProblem], float], tile: Tile, start: Costs) -> Costs:
    """The constants of the cost model that fit milliseconds by (name, kind, problem) best, beginning with `start`.

    Errors are relative: a small layer has the same weight as a large one. Of a layer's algorithms those near the
    fastest have the largest weights, because the selection is between them.
    Then a random search lowers what the selections lose, which is what the model is for: a few numbers do not
    describe a cache.
    """
    keys = list(measured)
    fastest = {(kind, problem): np.inf for _, kind, problem in keys}
    for key, taken in measured.items():
        fastest[key[1:]] = min(fastest[key[1:]], taken)
    weights = [(fastest[key[1:]] / measured[key]) ** 0.5 for key in keys]

    def residuals(logs: Any) -> list[float]:
        costs = Costs(*np.exp(logs))
        return [
            weight * np.log(1e-6 * cost(*key, tile, costs) / measured[key])
            for key, weight in zip(keys, weights, strict=True)
        ]

    closest = least_squares(residuals, np.log(start), loss="soft_l1").x
    random, best = np.random.default_rng(0), rounded(closest)
    least = np.mean(losses(measured, tile, best))
    for _ in range(_TRIALS if least > 0 else 0):
        trial = rounded(np.log(best) + random.normal(0, 0.25, len(best)))
        if (mean := np.mean(losses(measured, tile, trial))) < least:
            best, least = trial, mean
    return best


def rounded(logs: Any) -> Costs:
    """The constants of which these are the logarithms, to three digits."""
    return Costs(*(float(f"{value:.3g}") for value in np.exp(logs)))


def losses(measured: Mapping[tuple[str, str, ConvProblem], float], tile: Tile, costs: Costs) -> list[float]:
    """What each choice takes longer than the fastest, as a fraction."""
    layers: dict[tuple[str, ConvProblem], dict[str, float]] = {}
    for (name, kind, problem), taken in measured.items():
        layers.setdefault((kind, problem), {})[name] = taken
    return [
        times[min(times, key=lambda name, kind=kind, of=problem: cost(name, kind, of, tile, costs))]  # type: ignore[misc]
        / min(times.values())
        - 1
        for (kind, problem), times in layers.items()
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; the selected algorithm is bold."""
    lines = [
        "| batch | pixels | channels | filters | "
        + " | ".join(f"{label}: {name}" for label in _PASSES.values() for name in CONVOLUTIONS)
        + " |",
        "| " + " | ".join(["---:"] * (4 + len(_PASSES) * len(CONVOLUTIONS))) + " |",
    ]
    for row in rows:
        cells = [str(row["batch"]), f"{row['side']}²", str(row["channels"]), str(row["filters"])]
        for direction in _PASSES:
            for name in CONVOLUTIONS:
                text = f"{row[direction]['ms'][name]:.2f}"
                cells.append(f"**{text}**" if name == row[direction]["chosen"] else text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_convolutions", description=__doc__)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64], metavar="IMAGES")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--fit", action="store_true", help="fit the cost model; measure with --threads 1")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements")
    chosen = parser.parse_args()
    rows: list[dict[str, Any]] = []
    measured: dict[tuple[str, str, ConvProblem], float] = {}
    for batch in chosen.batch:
        for problem in shapes(batch):
            rows.append(row := measure(problem, chosen.threads))
            for kind in _PASSES:
                measured |= {(name, kind, problem): taken for name, taken in row[kind]["ms"].items()}
            print(f"batch {batch}, {problem.channels} to {problem.filters} channels", file=sys.stderr, flush=True)
    print(table(rows))
    lost = [row[direction]["loses"] for row in rows for direction in _PASSES]
    print(f"\nThe choice loses {100 * np.mean(lost):.1f} % in the mean, {100 * max(lost):.0f} % at most.")
    if chosen.fit:
        costs = fitted(measured, host_tile(), COSTS[host_tile()])
        lost = losses(measured, host_tile(), costs)
        print(f"\nFitted to {host_tile()}: {costs}")
        print(f"With these the choice loses {100 * np.mean(lost):.1f} % in the mean, {100 * max(lost):.0f} % at most.")
    if chosen.json:
        write_json(chosen.json, {"provenance": collect_provenance(), "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
