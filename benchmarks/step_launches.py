"""`python -m benchmarks.step_launches`: launches, bytes and uploads of a training step, before and now.

Runs the loop's step on arrays without memory and with kernels that do nothing; no GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from math import prod
from typing import Any

from benchmarks.kernels.dry_run import DryRun
from benchmarks.kernels.launches import count_launches
from benchmarks.models import model_config
from benchmarks.records import TABLES, write_or_check
from benchmarks.workload import named_options, workload
from cnn.backends.cuda import CudaOps
from foundation.errors import UserError

TABLE = TABLES / "step_launches.md"
MODELS, BATCH, IMAGES = ("baseline", "resnet9"), 256, 4096
HALF_MODELS, HALF_BATCH = ("baseline", "vgg_small", "resnet9"), 512  # of the table of bfloat16
INPUT, CLASSES = (48, 48, 1), 7


@dataclass(frozen=True)
class Step:
    """One training step on a GPU."""

    launches: int  # of our kernels
    moved: int  # bytes that these read and write: every array once, twice where it is updated
    masks: int  # bytes of dropout masks among them that are saved for the backward pass
    module_launches: int  # by CuPy: arithmetic, indexing with arrays, zeros
    uploads: int  # from the host
    uploaded: int  # bytes
    epoch_uploads: int  # at the beginning of an epoch


# Counted with the dry run of that revision, with its training loop.
BEFORE_REVISION = "58607be"
BEFORE = {
    "baseline": Step(121, 5_575_152_400, 26_050_560, 6, 4, 14_336, 0),
    "resnet9": Step(117, 14_950_438_416, 0, 6, 4, 14_336, 0),
}


def measure(model: str, batch: int = BATCH, storage: str = "float32") -> Step:
    """The second step of an epoch with Adam, mirrored and shifted images. Raises `UserError` for an unknown model."""
    xp = DryRun()
    ops = CudaOps(xp, device="dry run")
    options = named_options(optimizer="adam", augment="flip_shift")
    images = max(IMAGES, 3 * batch)
    sizes: Any = {"input_shape": INPUT, "classes": CLASSES, "images": images, "batch": batch}
    work = workload(options, model_config(model), ops, **sizes, storage=storage)
    before = replace(xp.traffic)
    work.begin_epoch()
    epoch = xp.traffic - before
    work.step.run(batch)
    before = replace(xp.traffic)
    counts = count_launches(ops, lambda: work.step.run(batch))
    seen = xp.traffic - before
    masks = {shape for work in counts for name, shape in work.arrays if name == "mask"}
    return Step(
        launches=sum(counts.values()),
        moved=sum(work.moved * calls for work, calls in counts.items()),
        masks=sum(map(prod, masks)),
        module_launches=seen.module_launches,
        uploads=seen.uploads,
        uploaded=seen.uploaded,
        epoch_uploads=epoch.uploads,
    )


COLUMNS = (
    *("kernel launches", "MB moved", "MB of dropout masks", "launches by CuPy"),
    *("uploads", "bytes uploaded", "uploads an epoch"),
)


def render() -> str:
    """The table as Markdown."""
    lines = [
        "# Launches and uploads of a training step",
        "",
        "Written by `python -m benchmarks.step_launches --write`; a test compares it with the code.",
        "",
        f"One step of {BATCH} images of {'×'.join(map(str, INPUT))}, {CLASSES} classes, with Adam, images mirrored and",
        "shifted, counted by a dry run. Bytes are those of every array argument of a kernel, once, twice if it is",
        "updated. An upload is a transfer from the host; launches by CuPy are arithmetic, indexing with arrays,",
        f"zeros. *Before* is revision {BEFORE_REVISION}, counted by the dry run of that revision in its training loop.",
        "",
        f"| model | | {' | '.join(COLUMNS)} |",
        f"| --- | --- |{' ---: |' * len(COLUMNS)}",
    ]
    for model in MODELS:
        for name, step in (("before", BEFORE[model]), ("now", measure(model))):
            lines.append(f"| {model} | {name} | {' | '.join(_cells(step))} |")
    lines += [
        "",
        f"The same of {HALF_BATCH} images with bfloat16. Parts of sums count twice, as blocks write and",
        "read them in the launch that computes them.",
        "",
        f"| model | {' | '.join(COLUMNS)} |",
        f"| --- |{' ---: |' * len(COLUMNS)}",
        *(f"| {model} | {' | '.join(_cells(measure(model, HALF_BATCH, 'bfloat16')))} |" for model in HALF_MODELS),
    ]
    return "\n".join(lines) + "\n"


def _cells(step: Step) -> list[str]:
    launches, moved, masks, *others = astuple(step)
    return [f"{launches:,}", f"{moved / 1e6:,.1f}", f"{masks / 1e6:,.1f}", *(f"{other:,}" for other in others)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_launches", description=__doc__)
    parser.add_argument("--model", nargs="+", default=list(MODELS), metavar="NAME", help="of conf/model")
    parser.add_argument("--batch", type=int, default=BATCH, metavar="IMAGES", help=f"of a step ({BATCH})")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/step_launches.md, for the defaults")
    parser.add_argument("--check", action="store_true", help="exit with 1 if that file is out of date")
    chosen = parser.parse_args(arguments)
    if chosen.batch < 2:
        parser.error("a batch has at least 2 images")
    try:
        if chosen.write or chosen.check:
            return write_or_check(TABLE, render(), chosen.check)
        for model in chosen.model:
            cells = _cells(measure(model, chosen.batch))
            print(f"{model}: {', '.join(f'{cell} {name}' for cell, name in zip(cells, COLUMNS, strict=True))}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
