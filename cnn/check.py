"""`python -m cnn.check FOLDER`: whether the folder of a run or a pack is whole. Reads, and changes nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from cnn.backends import Ops, get_ops
from cnn.finished_run import FinishedRun
from cnn.reporting.metrics_csv import read_history
from cnn.reporting.sweeps import METRICS
from cnn.run_config import config_path, read_run_config
from cnn.training.checkpoint import BEST, LAST, described, load_checkpoint
from cnn.training.pack import load_pack
from cnn.training.run_folder import MODEL, network_file
from data_tools.packs.listing import is_pack
from data_tools.reading.manifest import read_manifest
from foundation.errors import UserError
from foundation.files import in_use, leftovers, read_json
from foundation.output import lasting_output
from foundation.run_lock import LOCK

Check = Callable[[], str]  # returns what was found; raises `UserError` for what is wrong


def checks_of(folder: Path, ops: Ops) -> dict[str, Check]:
    """The checks of a folder by the file that each is of. Raises `UserError` for what is neither run nor pack."""
    if is_pack(folder):
        return {"pack.json, images, labels, splits": lambda: _pack(folder, ops), "manifest.csv": lambda: _rows(folder)}
    if not any((folder / name).exists() for name in (BEST, LAST, MODEL)) and not config_path(folder).exists():
        raise UserError(f"{folder} is neither the folder of a run nor a pack")
    if network_file(folder).name == MODEL:
        return {MODEL: lambda: _best(folder, ops), "temporary files": lambda: _temporary(folder)}
    found: dict[str, Check] = {BEST: lambda: _best(folder, ops)}
    if (folder / LAST).exists() or not _from_python(folder):
        found |= {
            ".hydra/config.yaml": lambda: _config(folder),
            LAST: lambda: _last(folder),
            "metrics.csv": lambda: _history(folder),
            METRICS: lambda: _metrics(folder),
        }
    return found | {"temporary files": lambda: _temporary(folder)}


def _from_python(folder: Path) -> bool:
    """Whether the folder is of `Classifier.save`, which has the network alone."""
    return not config_path(folder).exists() and not (folder / METRICS).exists()


def _pack(folder: Path, ops: Ops) -> str:
    pack = load_pack(folder, ops)
    return f"{sum(map(len, pack.splits.values())):,} images, hash {pack.content_hash[:12]}"


def _rows(folder: Path) -> str:
    packed = [row.pack_row for row in read_manifest(folder / "manifest.csv") if row.packed]
    images = read_json(folder / "pack.json").get("images")
    if sorted(row if row is not None else -1 for row in packed) != list(range(len(packed))) or len(packed) != images:
        raise UserError(f"its rows of packed images are not those of the {images} images: make the pack again")
    return f"{len(packed):,} rows of packed images"


def _best(folder: Path, ops: Ops) -> str:
    run = FinishedRun.open(folder, ops)
    return f"{run.model.name}, epoch {run.epoch}, {run.model.parameter_count:,} parameters"


def _config(folder: Path) -> str:
    read_run_config(folder)
    return "the options of a run"


def _last(folder: Path) -> str:
    _, metadata = load_checkpoint(folder / LAST)
    with described(folder / LAST):
        return f"the state after epoch {int(metadata['training']['epoch'])}"


def _history(folder: Path) -> str:
    rows = read_history(folder / "metrics.csv")
    _, metadata = load_checkpoint(folder / LAST)
    with described(folder / LAST):
        known = [row["epoch"] for row in metadata["training"]["history"]]
    if [row.get("epoch") for row in rows] != known:
        raise UserError(f"it has {len(rows)} epochs and the checkpoint {len(known)}: resume={folder} writes it again")
    return f"{len(rows)} epochs"


def _metrics(folder: Path) -> str:
    if not (folder / METRICS).exists():
        return f"not there: the run is not finished, resume={folder} continues it"
    metrics = read_json(folder / METRICS)
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test_accuracy"), float):
        raise UserError("it has no test accuracy")
    return f"test accuracy {metrics['test_accuracy']:.4f}"


def _temporary(folder: Path) -> str:
    if in_use(folder / LOCK):
        return "a process runs in this folder"
    if left := leftovers(folder):
        raise UserError(f"{', '.join(path.name for path in left)} of a killed process: resume={folder} removes them")
    return "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line for each file; 1 if any is not whole, 2 if the folder is neither a run nor a pack."""
    parser = argparse.ArgumentParser(prog="python -m cnn.check", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder of a run, or a pack")
    folder = parser.parse_args(arguments).folder
    ops = get_ops("numpy")
    with lasting_output():
        try:
            checks = checks_of(folder, ops)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        damaged = 0
        for name, check in checks.items():
            try:
                print(f"whole    {name}: {check()}")
            except (UserError, OSError) as error:
                damaged += 1
                print(f"DAMAGED  {name}: {error}")
    return 1 if damaged else 0


if __name__ == "__main__":
    sys.exit(main())
