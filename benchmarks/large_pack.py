"""`python -m benchmarks.large_pack --gigabytes 3 --limit 1`: training on a pack that is larger than the memory.

Writes a pack of random images, moves this process into a cgroup with that limit (Linux, as root), and trains by turns
on the pack in its file and on a part of it that is in memory: a few steps of the one, a few of the other, so that both
meet the same machine. Prints the rates, and what the file costs: in training, and alone, for making batches without a
network.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from cnn.assembly import TrainingOptions, new_trainer
from cnn.backends import get_ops
from cnn.models import build_model
from cnn.training.batches import AugmentSettings, epoch_order
from cnn.training.loop import TrainerSettings
from cnn.training.optimizers import AdamSettings
from cnn.training.pack import Split, load_pack
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.schedules import ScheduleSettings
from cnn.training.step import TrainingStep
from foundation.pack_hash import content_hash

CLASSES = ("one", "other")
_GROUPS = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")  # of version 1, and of version 2
_LAYERS = [
    {"conv2d": {"filters": 8, "stride": 2}},
    *("batch_norm", "relu", {"max_pool2d": 2}, {"conv2d": {"filters": 16}}, "batch_norm", "relu"),
    *({"max_pool2d": 2}, "global_avg_pool2d", {"dense": {"units": "classes"}}),
]


def write_pack(folder: Path, gigabytes: float, side: int) -> None:
    """A pack of random images (n, side, side, 3); all but 200 of them are the training split."""
    count = int(gigabytes * 2**30 / (3 * side * side))
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, side, side, 3))
    rng = np.random.default_rng(0)
    for start in range(0, count, 1000):
        images[start : start + 1000] = rng.integers(0, 256, images[start : start + 1000].shape, np.uint8)
    images.flush()
    labels, splits = np.arange(count) % 2, np.repeat(np.arange(3, dtype=np.uint8), (count - 200, 100, 100))
    np.save(folder / "labels.npy", labels)
    np.save(folder / "splits.npy", splits)
    description = {
        "name": "random",
        "classes": list(CLASSES),
        "split_names": ["train", "validation", "test"],
        "content_hash": content_hash(images, labels, splits, CLASSES),
    }
    (folder / "pack.json").write_text(json.dumps(description))


def limit_memory(gigabytes: float) -> Path:
    """Move this process into a new cgroup that may have so much memory, caches of files included."""
    for top, names in zip(_GROUPS, (("memory.limit_in_bytes", "tasks"), ("memory.max", "cgroup.procs")), strict=True):
        group = top / f"large-pack-{os.getpid()}"
        try:
            group.mkdir()
            (group / names[0]).write_text(str(int(gigabytes * 2**30)))
            (group / names[1]).write_text(str(os.getpid()))
        except OSError:
            if group.is_dir():
                group.rmdir()
            continue
        return group
    raise SystemExit("no cgroup can be made here: run as root on Linux")


def leave(group: Path) -> None:
    """Move this process back, and remove its cgroup."""
    names = ("tasks", "cgroup.procs")
    with contextlib.suppress(OSError):
        place = next(group / name for name in names if (group / name).exists())
        (group.parent / place.name).write_text(str(os.getpid()))
        group.rmdir()


def step_of(split: Split, batch: int) -> TrainingStep:
    """The training step of a small network on a split."""
    shape = split.images.shape[1:]
    model = build_model({"name": "small", "layers": _LAYERS}, get_ops("cpu"), shape, len(CLASSES), 0)
    options = TrainingOptions(
        TrainerSettings(batch_size=batch), AdamSettings(), ScheduleSettings(), AugmentSettings(flip=True), 0
    )
    weights = np.ones(len(CLASSES), np.float32)
    trainer = new_trainer(model, len(split), PixelScaling.none(shape[2]), weights, options, None, {})
    step = TrainingStep(
        model, trainer.loss, trainer.optimizer, trainer.batches, split.images, split.labels, trainer.settings.batch_size
    )
    steps = len(split) // batch
    step.begin_epoch(epoch_order(len(split), 0, 1), np.full(steps, 1e-3, np.float32), 0)
    return step


def rates(runs: Mapping[str, Callable[[], object]], images: int, rounds: int, steps: int) -> dict[str, float]:
    """Images a second of each, the median over the rounds; each round has so many steps of each."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            begun = time.perf_counter()
            for _ in range(steps):
                run()
            seconds[name].append(time.perf_counter() - begun)
    return {name: images * steps / statistics.median(taken) for name, taken in seconds.items()}


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_pack")
    parser.add_argument("--gigabytes", type=float, default=3.0, help="of the pack")
    parser.add_argument("--limit", type=float, default=1.0, help="gigabytes of memory")
    parser.add_argument("--side", type=int, default=96, help="pixels of an image's side")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="where the pack is written; by default among the temporary files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_pack(folder, options.gigabytes, options.side)
        group = limit_memory(options.limit)
        atexit.register(leave, group)
        print(f"a pack of {options.gigabytes:g} GB, {options.limit:g} GB of memory ({group})")
        begun = time.perf_counter()
        split = load_pack(folder, get_ops("cpu")).splits["train"]
        print(f"loaded, with its hash, in {time.perf_counter() - begun:.1f} s: {len(split):,} training images")
        begun = time.perf_counter()
        PixelScaling.fit("standardize", split.images)
        print(f"mean and deviation of the pixels in {time.perf_counter() - begun:.1f} s")
        few = min(len(split), int(0.15 * options.limit * 2**30) // split.images[0].nbytes)
        held = replace(
            split, images=np.array(split.images[:few]), labels=split.labels[:few], host_labels=split.host_labels[:few]
        )
        per_round = 10
        needed = options.batch * per_round * (options.rounds + 1)
        if needed > len(split):
            raise SystemExit(f"{needed:,} images are needed for that many rounds: take fewer, or a larger pack")
        on_file, in_memory = step_of(split, options.batch), step_of(held, options.batch)
        again = {"left": few // options.batch}

        def train_in_memory() -> None:
            if again["left"] == 0:
                in_memory.begin_epoch(epoch_order(few, 0, 2), np.full(few // options.batch, 1e-3, np.float32), 0)
                again["left"] = few // options.batch
            again["left"] -= 1
            in_memory(options.batch)

        runs = {"in memory": train_in_memory, "from the file": lambda: on_file(options.batch)}
        for run in runs.values():
            run()
        report("training", rates(runs, options.batch, options.rounds, per_round))
        order = np.random.default_rng(1)

        def gather(some: Split) -> None:
            places = order.integers(0, len(some), options.batch)
            on_file.batches.plain(some.images, places)

        gathers = {"in memory": lambda: gather(held), "from the file": lambda: gather(split)}
        report("batches alone", rates(gathers, options.batch, options.rounds, per_round))
    return 0


def report(what: str, found: dict[str, float]) -> None:
    """A line: both rates, and the loss."""
    memory, file = found["in memory"], found["from the file"]
    print(f"{what}: {memory:,.0f} images/s in memory, {file:,.0f} from the file: {100 * (1 - file / memory):+.1f} %")


if __name__ == "__main__":
    sys.exit(main())
