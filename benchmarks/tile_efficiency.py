"""`python -m benchmarks.tile_efficiency`: how much of a GPU the matrix products of each model keep busy.

Computed from shapes, by the tiles and parts that the backend chooses for an H100; no GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import numpy as np

from benchmarks.kernels.dry_run import DryRun
from benchmarks.kernels.launches import scalar
from benchmarks.models import model_config
from benchmarks.records import TABLES, write_or_check
from benchmarks.workload import named_options, workload
from cnn.backends import Epilogue
from cnn.backends.cuda import CudaOps
from cnn.kernels import Kernel
from cnn.kernels.tile_choice import REFERENCE, Product

TABLE = TABLES / "tile_efficiency.md"
MODELS, BATCHES = ("baseline", "vgg_small", "resnet9"), (64, 256, 512, 1024)
INPUT, CLASSES = (48, 48, 1), 7
LEAST = 0.9

# The multiply-adds that an H100 does in about 3 us, which a launch takes anyhow: smaller products are not judged.
SHORT = {"float32": 60_000_000, "bfloat16": 750_000_000}

# What stays below LEAST, as patterns of "model storage product batch", how low it may be, and why.
EXCEPTIONS: dict[str, tuple[float, str]] = {
    "* backward_filter 288×* *": (0.83, "nine taps of 32 channels are 4½ tiles of 64 rows"),
    "* backward_filter 576×128×* *": (
        0.81,
        "nine taps of 64 channels are 4½ tiles of 128; smaller ones copy more",
    ),
    "* bfloat16 * 64": (0.54, "so few tiles that idle multiprocessors cost less than to write, read and add parts"),
    "* bfloat16 * 256": (
        0.54,
        "the same; and by warpgroups few large tiles were faster on an H100 than many small ones",
    ),
    "* bfloat16 * 512": (0.54, "the same, of images of 6×6 pixels"),
    "* bfloat16 * 1024": (0.54, "the same"),
    "* float32 * 64": (0.81, "so few tiles, as in bfloat16, but for fewer products"),
    "baseline float32 dense_backward_* *": (0.54, "2304×256 weights and a sum over the batch alone: 3 to 14 us"),
}
# All products of a step together, by storage and batch: at least.
LEAST_OF_STEP = {
    "float32": {64: 0.7, 256: 0.9, 512: 0.92, 1024: 0.93},
    "bfloat16": {64: 0.66, 256: 0.77, 512: 0.82, 1024: 0.89},
}

# The products of the contract; the first two arguments are the operands.
OPERATIONS = (
    *("conv2d", "conv2d_backward_input", "conv2d_backward_filter"),
    *("dense", "dense_backward_input", "dense_backward_filter"),
)


@dataclass(frozen=True)
class Row:
    """A product of a model's step, as it is launched."""

    model: str
    storage: str
    pass_: str
    product: Product
    batch: int
    tile: str
    splits: int
    efficiency: float

    @property
    def shape(self) -> str:
        """Rows, columns and k; n stands for the batch, which a filter gradient sums over."""
        product, summed = self.product, self.pass_.endswith("filter")
        long = product.k if summed else product.rows
        images = f"{long // self.batch}n".removeprefix("1n") or "n" if long % self.batch == 0 else str(long)
        sizes = (product.rows, product.columns, images) if summed else (images, product.columns, product.k)
        return f"{self.pass_} {'×'.join(map(str, sizes))}"

    @property
    def short(self) -> bool:
        """Whether a launch's own time covers it."""
        return self.multiplied < SHORT[self.storage]

    @property
    def multiplied(self) -> int:
        """Multiply-adds that count."""
        return self.product.rows * self.product.columns * self.product.k * self.product.products

    @property
    def least(self) -> float:
        """The efficiency that is asked for."""
        if self.short:
            return 0.0
        name = f"{self.model} {self.storage} {self.shape} {self.batch}"
        return next((least for pattern, (least, _) in EXCEPTIONS.items() if fnmatch(name, pattern)), LEAST)


# A product of the contract: its name, the shapes of its operands, and the arguments after them.
Call = tuple[str, tuple[int, ...], tuple[int, ...], tuple[Any, ...]]


def calls_of(model: str, batch: int) -> list[Call]:
    """The products of one training step of the model."""
    ops, calls = CudaOps(DryRun(), device="dry run"), []

    def recorded(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(first: Any, second: Any, *others: Any, **options: Any) -> Any:
            geometry = (None if isinstance(other, np.ndarray) else other for other in others)
            calls.append((name, first.shape, second.shape, tuple(x for x in geometry if not isinstance(x, Epilogue))))
            return operation(first, second, *others, **options)

        return call

    for name in OPERATIONS:
        setattr(ops, name, recorded(name, getattr(ops, name)))
    options = named_options(optimizer="adam", augment="flip_shift")
    work = workload(options, model_config(model), ops, input_shape=INPUT, classes=CLASSES, images=batch, batch=batch)
    work.begin_epoch()
    work.step.run(batch)
    return calls


def rows_of(model: str, batch: int) -> Iterator[Row]:
    """Each product of a training step, of arrays kept in float32 and then in bfloat16.

    What is computed without a matrix product, such as convolutions of one channel, is left out.
    """
    calls = calls_of(model, batch)
    for storage in SHORT:
        ops = CudaOps(DryRun(), device="dry run")
        found: list[Row] = []

        def observe(kernel: Kernel, given: dict[str, Any], storage: str = storage, found: Any = found) -> None:
            if kernel.tiling is None or kernel.storage.removesuffix("32") != storage.removesuffix("32"):
                return  # no matrix product, or one that tensor cores cannot compute
            values = {a.name: scalar(given[a.name]) for a in kernel.arguments if not a.pointer}
            product, tile, splits = kernel.tiling.product(values), kernel.tiling.tile, values["splits"]
            pass_ = kernel.expression.partition("<")[0].removeprefix("tensor_").removeprefix("conv_")
            size = f"{tile.m}×{tile.n}"
            found.append(Row(model, storage, pass_, product, batch, size, splits, product.efficiency(tile, splits)))

        ops.launch.observe = observe
        dtype = "uint16" if storage == "bfloat16" else "float32"
        for name, first, second, others in calls:
            getattr(ops, name)(ops.empty(first, dtype), ops.empty(second, dtype), *others)
        yield from found


def measure(models: Sequence[str] = MODELS, batches: Sequence[int] = BATCHES) -> list[Row]:
    """The products of all models at all batch sizes."""
    return [row for model in models for batch in batches for row in rows_of(model, batch)]


def of_steps(rows: Sequence[Row]) -> dict[tuple[str, str, int], float]:
    """The efficiency of all products of a step together, by model, storage and batch."""
    sums: dict[tuple[str, str, int], list[float]] = {}
    for row in rows:
        counted = sums.setdefault((row.model, row.storage, row.batch), [0.0, 0.0])
        counted[0] += row.multiplied
        counted[1] += row.multiplied / row.efficiency
    return {step: useful / done for step, (useful, done) in sums.items()}


def failures(rows: Sequence[Row]) -> list[str]:
    """What is below what is asked for, a line each."""
    products = [
        f"{row.model}, {row.storage}, {row.shape}, batch {row.batch}: {row.efficiency:.3f} by {row.tile} in "
        f"{row.splits}, less than {row.least}"
        for row in dict.fromkeys(rows)  # layers may be alike
        if row.efficiency < row.least
    ]
    steps = [
        f"{model}, {storage}, batch {batch}, all products: {efficiency:.3f}, less than {LEAST_OF_STEP[storage][batch]}"
        for (model, storage, batch), efficiency in of_steps(rows).items()
        if efficiency < LEAST_OF_STEP[storage][batch]
    ]
    return products + steps


def render(rows: Sequence[Row]) -> str:
    """The table as Markdown: a line for each product, a column for each batch size."""
    lines = [
        "# How much of a GPU the matrix products keep busy",
        "",
        "Written by `python -m benchmarks.tile_efficiency --write`; a test compares it with the code.",
        "",
        f"Padding × waves on {REFERENCE.multiprocessors} multiprocessors (H100), computed from shapes: the "
        "multiply-adds that count, of those that the",
        "device could do while its busiest multiprocessor computes its tiles. Rows × columns × k of each product at "
        f"{'×'.join(map(str, INPUT))}, where n is",
        "the batch; tile, parts of the sum where there are several, efficiency. At least "
        f"{LEAST} is asked for, but for products",
        "in parentheses, which take less than about 3 µs. A tile of lower efficiency may still be the faster one: by "
        "warpgroups",
        "(wgmma) the largest tiles multiply about twice as fast as the smallest (docs/kernels.md).",
        "",
        f"| model | storage | product | {' | '.join(f'n = {batch}' for batch in BATCHES)} |",
        f"| --- | --- | --- |{' ---: |' * len(BATCHES)}",
    ]
    cells: dict[tuple[str, str, str], dict[int, str]] = {}
    for row in rows:
        cells.setdefault((row.model, row.storage, row.shape), {})[row.batch] = _cell(row)
    for line in sorted(cells, key=lambda key: (MODELS.index(key[0]), key[1] == "bfloat16")):
        lines.append(f"| {' | '.join([*line, *(cells[line].get(batch, '') for batch in BATCHES)])} |")
    steps = of_steps(rows)
    for model, storage in dict.fromkeys((model, storage) for model, storage, _ in steps):
        shown = (f"**{steps[model, storage, batch]:.2f}**" for batch in BATCHES)
        lines.append(f"| {model} | {storage} | **all products** | {' | '.join(shown)} |")
    lines += ["", "What may be below that, and why:", "", "| model, storage, product, batch | least | reason |"]
    lines += ["| --- | ---: | --- |"]
    lines += [f"| `{pattern}` | {least} | {why} |" for pattern, (least, why) in EXCEPTIONS.items()]
    return "\n".join(lines) + "\n"


def _cell(row: Row) -> str:
    text = f"{row.tile}{f' /{row.splits}' if row.splits > 1 else ''} {row.efficiency:.2f}"
    return f"({text})" if row.short else text


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 1 where a product is below what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.tile_efficiency",
        description="Padding x waves of every matrix product of the models, computed from shapes. Needs no GPU.",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/tile_efficiency.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if that file is out of date")
    chosen = parser.parse_args(arguments)
    rows = measure()
    low = failures(rows)
    for line in low:
        print(f"error: {line}", file=sys.stderr)
    if chosen.write or chosen.check:
        return write_or_check(TABLE, render(rows), chosen.check) or int(bool(low))
    print(render(rows))
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main())
