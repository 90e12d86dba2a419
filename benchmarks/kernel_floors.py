"""`python -m benchmarks.kernel_floors`: lower bounds of the time of a training step on a GPU, kernel by kernel.

Runs the step on arrays without memory and with kernels that do nothing; no GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatch

from rich.console import Console
from rich.table import Table

from benchmarks.kernels.ceilings import Ceilings
from benchmarks.kernels.dry_run import DryRun
from benchmarks.kernels.launches import Work, count_launches
from benchmarks.models import model_config
from benchmarks.records import TABLES, write_or_check
from benchmarks.workload import named_options, workload
from cnn.backends.blocks import GRADIENT_NEEDS
from cnn.backends.cuda import CudaOps
from cnn.kernels import KERNELS, Kernel
from foundation.errors import UserError

TABLE = TABLES / "kernel_floors.md"

MODELS, BATCH = ("baseline", "resnet9"), 256
INPUT, CLASSES = (48, 48, 1), 7
H200 = Ceilings(bandwidth=4.3e12, arithmetic=60e12)  # a copy as it was measured on one; fp32 without matrix units

# Bytes that kernels move per element of their longest array, for kernels whose other arrays are much shorter.
PER_ELEMENT = {
    **{"softmax": 8, "l2_penalty": 4, "global_avg_pool2d": 4, "global_avg_pool2d_backward": 4},
    # Parameter and moments are read and written, the gradient is read.
    **{"sgd_update": 20, "adam_update": 28},
}

# Kernels that the networks of the table never launch, and when they are launched.
ELSEWHERE = {
    "*_bf16": "activations kept in bfloat16",
    "*_tf32": "float32 products with tf32",
    "conv_*x*_vector": "a product that this tile suits, four values at a time",
    "conv_forward_64x64": "a product whose channels or filters do not come in fours",
    "conv_backward_*_64x64": "a product whose channels or filters do not come in fours",
    "dense_*x*_vector": "a product that this tile suits, four values at a time",
    "dense_*_64x64": "a product whose sides do not come in fours",
    "conv_one_channel*": "another window over one channel",
    "conv_depthwise*": "depthwise convolution",
    "max_pool2d*_uint8": "maxima of windows of up to 256 taps",
    "max_pool2d*_int32": "maxima of windows of more than 256 taps",
    "avg_pool2d*": "average pooling",
    "global_avg_pool2d*": "average over whole images",
    "softmax": "scoring",
    "l2_penalty": "the penalty in an epoch's record",
    "l2_penalty_backward": "layers with l2",
    "dropout*": "dropout",
    "drop_path*": "stochastic depth",
    "add": "residual blocks",
    "*_update": "another optimizer",
    "add_bias": "products by another library, and gradients at odd addresses",
    "column_sums": "biases",
    "relu*": "a ReLU that no layer before it applies",
    "clip_to_norm": "clipping of the gradient",
    **{f"{name}*": "the activation" for name in sorted({*GRADIENT_NEEDS, "prelu"} - {"relu"})},
    "multiply": "branches that are multiplied",
    "multiply_gate": "gates, as in squeeze-excite",
    "gate_backward": "gates, as in squeeze-excite",
    "copy_channels": "concatenations",
    "moments": "batch norm",
    "tail_*dropout*": "batch norm and dropout behind it",
    "tail_pool*": "batch norm before a maximum of 2 x 2 pixels",
    "tail*": "batch norm and what follows it",
    "running_average": "batch norm",
    "group_norm_*_by_warp": "group and layer norm of groups up to 1,024 elements",
    "group_norm_*": "group and layer norm",
    "soft_cross_entropy": "targets that are distributions",
    "batch_targets": "targets that are distributions",
    "mix_batch": "mixed images",
    "mix_batch_bf16": "mixed images",
    "blend": "averages of the weights",
    "sum_squares": "clipping of the gradient",
    "next_batch": "batches that are not augmented",
    "augmentation": "augmentation without the next batch",
    "gather_batch_of_floats": "images that are stored as floats",
}


def launches_of(model: str, batch: int) -> dict[Work, int]:
    """The launches of one training step of the model, in order, and their numbers."""
    ops = CudaOps(DryRun(), device="dry run")
    options = named_options(optimizer="adam", augment="flip_shift")
    work = workload(options, model_config(model), ops, input_shape=INPUT, classes=CLASSES, images=batch, batch=batch)
    work.begin_epoch()
    return count_launches(ops, lambda: work.step.run(batch))


def step_floor(counts: Mapping[Work, int], ceilings: Ceilings) -> float:
    """The least seconds of the launches in sequence."""
    return sum(calls * ceilings.floor(work.moved, work.flops) for work, calls in counts.items())


def headline(model: str, batch: int, counts: Mapping[Work, int], ceilings: Ceilings) -> str:
    """The step in one sentence."""
    floor = step_floor(counts, ceilings)
    bounds = {"memory": 0.0, "arithmetic": 0.0}
    for work, calls in counts.items():
        bounds[ceilings.bound(work.moved, work.flops)] += calls * ceilings.floor(work.moved, work.flops)
    moved = sum(work.moved * calls for work, calls in counts.items())
    flops = sum(work.flops * calls for work, calls in counts.items())
    return (
        f"{model}, batch {batch}: {sum(counts.values())} launches move {moved / 1e9:,.2f} GB and do "
        f"{flops / 1e9:,.1f} GFLOP, which takes {1e3 * floor:,.3f} ms at least ({1e3 * bounds['memory']:,.3f} bound by "
        f"memory, {1e3 * bounds['arithmetic']:,.3f} by arithmetic): {batch / floor:,.0f} images/s."
    )


COLUMNS = ("kernel", "largest arrays", "calls", "MB", "MFLOP", "FLOP/byte", "floor µs", "of step", "bound by")


def rows(counts: Mapping[Work, int], ceilings: Ceilings) -> list[tuple[str, ...]]:
    """One row per launch, the longest first."""
    whole = step_floor(counts, ceilings)
    ordered = sorted(counts.items(), key=lambda item: -item[1] * ceilings.floor(item[0].moved, item[0].flops))
    return [_row(work, calls, whole, ceilings) for work, calls in ordered]


def _row(work: Work, calls: int, whole: float, ceilings: Ceilings) -> tuple[str, ...]:
    floor = ceilings.floor(work.moved, work.flops)
    return (
        work.name,
        work.shapes(),
        str(calls),
        f"{work.moved / 1e6:,.3f}",
        f"{work.flops / 1e6:,.2f}",
        f"{work.flops / work.moved:,.2f}",
        f"{1e6 * floor:,.2f}",
        f"{100 * calls * floor / whole:.1f} %",
        ceilings.bound(work.moved, work.flops),
    )


def unlaunched(launched: Sequence[Mapping[Work, int]], ceilings: Ceilings) -> list[tuple[str, str, str]]:
    """The kernels of the table that no step launched: name, floor per element if defined, and when they run."""
    seen = {work.name for counts in launched for work in counts}
    return [(name, _per_element(kernel, ceilings), _when(name)) for name, kernel in KERNELS.items() if name not in seen]


def _per_element(kernel: Kernel, ceilings: Ceilings) -> str:
    """Bytes that a kernel moves per element, if its arrays have one length or one is much longer."""
    moved = PER_ELEMENT.get(kernel.name)
    if not moved and [argument.name for argument in kernel.arguments if not argument.pointer][-1] == "count":
        moved = sum(argument.dtype.itemsize for argument in kernel.arguments if argument.pointer)
    return f"{moved} bytes, {1e12 * moved / ceilings.bandwidth:.1f} ps" if moved else ""


def _when(name: str) -> str:
    """The use of a kernel. Raises `UserError` for one that is not in `ELSEWHERE`."""
    for pattern, when in ELSEWHERE.items():
        if fnmatch(name, pattern):
            return when
    raise UserError(f"benchmarks/kernel_floors.py does not say when kernel '{name}' is launched: add it to ELSEWHERE")


def render(models: Sequence[str], batch: int, ceilings: Ceilings) -> str:
    """The tables as Markdown."""
    launched = {model: launches_of(model, batch) for model in models}
    lines = [
        "# Lower bounds of a training step on a GPU",
        "",
        "Written by `python -m benchmarks.kernel_floors --write`; a test compares it with the code.",
        "",
        f"One step at {'×'.join(map(str, INPUT))}, {CLASSES} classes, with Adam. Bytes are those of every array that a",
        "kernel is given, once, twice where it updates it. A launch cannot take less than its bytes over",
        f"{ceilings.bandwidth / 1e12:g} TB/s or its operations over {ceilings.arithmetic / 1e12:g} TFLOP/s, whichever "
        "is longer: the floor. Times are of one launch,",
        "fractions of all calls. Data in the L2 cache may be read faster than this floor, and no launch takes less",
        "than about two microseconds. Convolutions count every tap, also those over padding, as matrix products do.",
        "",
        *(f"- {headline(model, batch, counts, ceilings)}" for model, counts in launched.items()),
    ]
    for model, counts in launched.items():
        lines += [
            "",
            f"## {model}, batch {batch}",
            "",
            f"| {' | '.join(COLUMNS)} |",
            f"| --- | --- |{' ---: |' * 6} --- |",
            *(f"| {' | '.join(row)} |" for row in rows(counts, ceilings)),
        ]
    lines += [
        "",
        "## Kernels that these steps do not launch",
        "",
        "| kernel | an element, at least | launched for |",
        "| --- | --- | --- |",
        *(f"| {' | '.join(row)} |" for row in unlaunched(list(launched.values()), ceilings)),
    ]
    return "\n".join(lines) + "\n"


def overview(model: str, batch: int, counts: Mapping[Work, int], ceilings: Ceilings) -> Table:
    """The launches of a model as a table for the terminal."""
    table = Table(title=headline(model, batch, counts, ceilings), title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="right" if 2 <= number < len(COLUMNS) - 1 else "left", no_wrap=number != 1)
    for row in rows(counts, ceilings):
        table.add_row(*row)
    return table


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernel_floors",
        description="Lower bounds of one training step on a GPU: the launches of each model with their bytes, their "
        "operations and the time that these imply. Needs no GPU.",
    )
    parser.add_argument("--model", nargs="+", default=list(MODELS), metavar="NAME", help="of conf/model")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="IMAGES", help=f"of a step ({BATCH})")
    parser.add_argument("--bandwidth", type=float, default=4.3, metavar="TB/S", help="of a copy (4.3, an H200)")
    parser.add_argument("--arithmetic", type=float, default=60.0, metavar="TFLOP/S", help="in fp32 (60, an H200)")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/kernel_floors.md, for the defaults")
    parser.add_argument("--check", action="store_true", help="exit with 1 if that file is out of date")
    chosen = parser.parse_args(arguments)
    if chosen.batch < 2 or chosen.bandwidth <= 0 or chosen.arithmetic <= 0:
        parser.error("a batch has at least 2 images, and ceilings are above 0")
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    chosen = _arguments(arguments)
    try:
        if chosen.write or chosen.check:
            return write_or_check(TABLE, render(MODELS, BATCH, H200), chosen.check)
        ceilings = Ceilings(1e12 * chosen.bandwidth, 1e12 * chosen.arithmetic)
        console = Console(width=None if sys.stdout.isatty() else 200)
        for model in chosen.model:
            console.print(overview(model, chosen.batch, launches_of(model, chosen.batch), ceilings))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
