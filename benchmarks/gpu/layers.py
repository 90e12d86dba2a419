"""Every kernel of a training step beside the device's measured ceilings."""

from __future__ import annotations

from benchmarks.clock import clock_of
from benchmarks.gpu.turn import Turn
from benchmarks.kernels.ceilings import CeilingSizes
from benchmarks.step.bench import run as run_bench
from benchmarks.step.settings import BenchmarkSettings
from benchmarks.workload import named_options
from cnn.backends import get_ops

MODELS, BATCH = ("resnet9", "vgg_small", "baseline"), 512


def run(turn: Turn) -> str:
    """Writes `layers.md` and `layers.json` after each model."""
    ops = get_ops("cupy")
    settings = BenchmarkSettings(models=list(MODELS), batch_sizes=[BATCH], repeats=10, steps=20, torch=False)
    if turn.quick:
        settings = BenchmarkSettings(["lenet"], [4], images=8, repeats=1, steps=1, torch=False, quick=True)
    sizes = CeilingSizes.quick() if turn.quick else CeilingSizes()
    options = named_options("adam", "flip_shift")
    record = run_bench(settings, options, ops, clock_of(ops), turn.out, turn.command, sizes, "layers")
    return f"{len(record['cells'])} steps"
