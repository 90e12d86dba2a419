"""`python -m benchmarks.leak_worth`: the effect of a leak on the accuracy.

Runs trained on different merges of the same sources are scored on one test split, that of the pack `--published`: on
all of it and on two parts, the images with a duplicate among the training or validation images of one of the packs, and
the images without. The groups of duplicates are from the manifest of the pack `--groups`.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import get_ops
from cnn.finished_run import FinishedRun
from cnn.reporting.metrics import wilson_interval
from cnn.training.inference import predict_probabilities
from data_tools.reading.manifest import Row, read_manifest
from foundation.errors import UserError

_BATCH = 256
WHOLE, DUPLICATED, CLEAN = "whole", "with a near-duplicate", "leak-free"


def packed(folder: Path) -> list[Row]:
    """Rows of the manifest that are in the pack. Raises `UserError` if there is no pack."""
    return [row for row in read_manifest(folder / "manifest.csv") if row.packed]


def parts(published: list[Row], trained: list[list[Row]], groups: dict[str, str]) -> dict[str, NDArray[np.int64]]:
    """Places in the published pack of its test images: all, those with a near-duplicate in training or
    validation, the others.

    `groups` has the group of each image by its id; an image that is not in it is a group of its own.
    """
    seen = {
        groups.get(row.parent or row.id, row.parent or row.id)
        for rows in trained
        for row in rows
        if row.split != "test"
    }
    tested = [row for row in published if row.split == "test"]
    duplicated = np.array([groups.get(row.id, row.id) in seen for row in tested])
    places = np.array([row.pack_row for row in tested], np.int64)
    return {WHOLE: places, DUPLICATED: places[duplicated], CLEAN: places[~duplicated]}


def score(run: FinishedRun, images: NDArray[np.uint8], labels: NDArray[np.int64], ops: Any) -> NDArray[np.bool_]:
    """Whether the prediction of each image is its label."""
    found = predict_probabilities(run.model, ops.array(images), run.batches, _BATCH)
    return np.asarray(found.argmax(axis=1) == labels)


def main() -> int:
    """Print the scores as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leak_worth", description=__doc__)
    parser.add_argument("--published", type=Path, required=True, help="pack whose test split is scored")
    parser.add_argument("--groups", type=Path, required=True, help="pack made with merge.duplicates=augmented")
    parser.add_argument("--run", nargs=3, action="append", required=True, metavar=("NAME", "RUN", "PACK"),
                        help="a run of cnn.train and the pack it was trained on")  # fmt: skip
    parser.add_argument("--backend", default="auto", choices=("auto", "numpy", "cupy"))
    chosen = parser.parse_args()
    try:
        ops = get_ops(chosen.backend)
        published = packed(chosen.published)
        groups = {row.id: row.group for row in read_manifest(chosen.groups / "manifest.csv") if row.group}
        tested = parts(published, [packed(Path(pack)) for _, _, pack in chosen.run], groups)
        images, labels = (
            np.load(chosen.published / f"{name}.npy", allow_pickle=False) for name in ("images", "labels")
        )
        found: dict[str, Any] = {"images": {name: len(places) for name, places in tested.items()}, "runs": {}}
        for name, folder, pack in chosen.run:
            run = FinishedRun.open(Path(folder), ops)
            metadata = json.loads((Path(pack) / "pack.json").read_text())
            if metadata["content_hash"] != run.pack_hash:
                raise UserError(f"{folder} was not trained on {pack}")
            right = np.zeros(len(images), bool)
            right[tested[WHOLE]] = score(run, images[tested[WHOLE]], labels[tested[WHOLE]], ops)
            found["runs"][name] = {"epoch": run.epoch} | {
                part: {
                    "accuracy": round(float(right[places].mean()), 4),
                    "interval": [round(end, 4) for end in wilson_interval(int(right[places].sum()), len(places))],
                }
                for part, places in tested.items()
                if len(places)
            }
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
