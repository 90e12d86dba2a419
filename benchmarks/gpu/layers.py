"""Every kernel of a training step beside the device's measured ceilings, in bfloat16 and in float32."""

from __future__ import annotations

from benchmarks.clock import clock_of
from benchmarks.gpu.turn import Turn
from benchmarks.kernels.ceilings import CeilingSizes
from benchmarks.step.bench import run as run_bench
from benchmarks.step.settings import BenchmarkSettings
from benchmarks.workload import named_options
from cnn.backends import get_ops

MODELS, BATCH = ("resnet9", "vgg_small", "baseline"), 512
PRECISIONS = ("bfloat16", "float32")


def run(turn: Turn) -> str:
    """Writes `layers_<precision>.md` and `.json` after each model."""
    ops = get_ops("cupy")
    clock, steps = clock_of(ops), 0
    sizes = CeilingSizes.quick() if turn.quick else CeilingSizes()
    options = named_options("adam", "flip_shift")
    for precision in PRECISIONS:
        settings = BenchmarkSettings(
            models=list(MODELS), batch_sizes=[BATCH], precision=precision, repeats=10, steps=20, torch=False
        )
        if turn.quick:
            settings = BenchmarkSettings(
                ["lenet"], [4], images=8, precision=precision, repeats=1, steps=1, torch=False, quick=True
            )
        name = f"layers_{precision}"
        steps += len(run_bench(settings, options, ops, clock, turn.out, turn.command, sizes, name)["cells"])
    return f"{steps} steps"
