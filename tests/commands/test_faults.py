"""A disk that is full, two runs that begin at once, memory that is too little: one line, and what is there is whole."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cnn.training.pack as packs
from cnn.check import main as check
from cnn.reporting.metrics_csv import read_history
from cnn.training.checkpoint import load_checkpoint
from cnn.training.loop import Trainer
from commands.small import QUICK
from foundation.files import leftovers
from training.states import without_times

ROOT = Path(__file__).resolve().parents[2]
RUN = (*QUICK, "baselines.logistic_regression_up_to=0", "backend=numpy", "trainer.epochs=2")


def content(folder: Path) -> dict[str, object]:
    """What must be equal in two runs: the weights, the state, and the history without times."""
    found: dict[str, object] = {}
    for path in folder.glob("*.safetensors"):
        found[path.name] = {name: tensor.tobytes() for name, tensor in load_checkpoint(path)[0].items()}
    found["metrics.csv"] = [list(row.items()) for row in without_times(read_history(folder / "metrics.csv"))]
    return found


class Disk:
    """Counts the files that the process makes or opens for writing, and refuses from one of them on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes, self.last = 0, 10**9
        opened, raw = Path.open, os.fsync

        def fsync(descriptor: int) -> None:
            self._count("")
            raw(descriptor)

        def path_open(path: Path, mode: str = "r", *rest, **options):
            if set(mode) & set("wax+"):
                self._count(str(path))
            return opened(path, mode, *rest, **options)

        monkeypatch.setattr(Path, "open", path_open)
        monkeypatch.setattr(os, "fsync", fsync)

    def _count(self, path: str) -> None:
        self.writes += 1
        if self.writes > self.last:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def test_a_disk_that_is_full_at_any_write_leaves_what_goes_on(command, workplace, monkeypatch):
    """From each of some writes on, those of the checkpoints among them, everything is refused; then there is room."""
    assert command("cnn.train", *RUN, "hydra.run.dir=whole").status == 0
    disk = Disk(monkeypatch)
    assert command("cnn.train", *RUN, "hydra.run.dir=counted").status == 0
    total = disk.writes
    assert total > 20
    for number, last in enumerate(np.linspace(0, total - 1, 5).astype(int).tolist()):
        folder = workplace / f"full{number}"
        disk.writes, disk.last = 0, last
        outcome = command("cnn.train", *RUN, f"hydra.run.dir={folder.name}")
        disk.last = 10**9
        if outcome.status:  # it may be that what is refused is not needed, such as a cache
            assert "No space left on device; no partial file was left" in outcome.error
        if folder.exists():
            assert leftovers(folder) == []
        if not (folder / "metrics.json").exists():
            begun = (folder / "checkpoint.last.safetensors").exists()
            again = [f"resume={folder.name}"] if begun else [*RUN, f"hydra.run.dir={folder.name}"]
            assert command("cnn.train", *again).status == 0, (last, again)
        assert content(folder) == content(workplace / "whole"), last
        assert check([str(folder)]) == 0


def test_two_runs_that_begin_at_once_in_one_folder(workplace):
    """One is whole, with its own options in the record; the other is refused in a line, and leaves nothing."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "cnn.train", *RUN, f"seed={seed}", "hydra.run.dir=out"], cwd=workplace,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for seed in (1, 2)
    ]  # fmt: skip
    errors = [process.communicate(timeout=300)[1] for process in processes]
    statuses = [process.returncode for process in processes]
    assert sorted(statuses) == [0, 2], errors
    winner = statuses.index(0)
    (line,) = errors[1 - winner].splitlines()
    assert "another process runs in this folder" in line or "holds a run already" in line
    record = (workplace / "out/.hydra/config.yaml").read_text()
    assert f"seed: {winner + 1}\n" in record
    assert load_checkpoint(workplace / "out/model.best.safetensors")[1]["seed"] == winner + 1
    assert check([str(workplace / "out")]) == 0


def test_too_little_memory_is_one_line_and_the_run_goes_on(command, workplace, monkeypatch):
    def too_little(trainer, *_):
        if trainer.epoch == 1:
            np.empty((2**50,), np.float64)
        return train(trainer, *_)

    train = Trainer._train_epoch
    monkeypatch.setattr(Trainer, "_train_epoch", too_little)
    assert "there is not enough memory (Unable to allocate" in command("cnn.train", *RUN, "hydra.run.dir=out").error
    monkeypatch.setattr(Trainer, "_train_epoch", train)
    assert command("cnn.train", "resume=out").status == 0


LIMITED = """
import resource, sys
import cnn.train
from cnn.backends import get_ops
get_ops("cpu", 1)  # its libraries need memory too
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 60 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
cnn.train.main()
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of the process is read from Linux's /proc")
def test_a_limit_of_memory_is_one_line_and_the_folder_takes_a_smaller_run(command, workplace):
    options = (*RUN, "trainer.batch_size=84", "data.image_size=64", "model.widths=[64,8]", "hydra.run.dir=out")
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED, *options], cwd=workplace, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert limited.returncode == 2, limited.stderr
    (error,) = limited.stderr.splitlines()
    assert "there is not enough memory" in error
    assert leftovers(workplace / "out") == []
    assert command("cnn.train", *RUN, "hydra.run.dir=out").status == 0
    assert check([str(workplace / "out")]) == 0


def test_two_preparations_at_once_make_one_pack(workplace):
    """One makes it, the other waits and uses it; nothing else is left."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "data_tools.prepare", *QUICK[:4], "data.pack_dir=packs"], cwd=workplace,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for _ in range(2)
    ]  # fmt: skip
    printed = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    (folder,) = (workplace / "packs").iterdir()
    assert check([str(folder)]) == 0
    assert sum("using the pack" in out for out, _ in printed) == 1


def test_a_pack_that_is_replaced_while_it_is_read_is_read_again(command, workplace, monkeypatch):
    """The images of the old pack with the labels of the new one would be refused as damaged."""
    assert command("cnn.train", *RUN, "hydra.run.dir=a").status == 0
    (folder,) = [path for path in (workplace / "packs").iterdir() if path.is_dir()]
    read, replaced = packs._array, []

    def replace_between(path: Path):
        if path.name == "labels.npy" and not replaced:
            replaced.append(path)
            np.save(folder / "labels.npy", np.zeros(3, np.int64))  # half of another pack
            found = read(path)
            np.save(folder / "labels.npy", labels)
            time.sleep(0.01)
            os.utime(folder / "pack.json")
            return found
        return read(path)

    labels = np.load(folder / "labels.npy")
    monkeypatch.setattr(packs, "_array", replace_between)
    assert command("cnn.train", *RUN, "hydra.run.dir=b").status == 0
    assert replaced
    assert content(workplace / "a") == content(workplace / "b")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_device_for_what_is_printed_ends_in_one_line(workplace):
    with Path("/dev/full").open("w") as full:
        outcome = subprocess.run(
            [sys.executable, "-m", "cnn.summary", "model=lenet"], cwd=workplace, stdout=full, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
    assert outcome.returncode == 2
    (line,) = outcome.stderr.splitlines()
    assert "No space left on device" in line
