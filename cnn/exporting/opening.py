"""Reads the folder of a trained network, with what is known of its training, for exports and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Ops
from cnn.exporting.network import Portable
from cnn.training.checkpoint import described
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.run_folder import open_folder
from foundation.files import read_json

_RESULTS = ("metrics.json", "evaluation_test.json")  # the first that is there; the second adds the confusion matrix


def open_network(folder: Path, ops: Ops) -> Portable:
    """The network in `folder`: a run, what `Classifier.save` wrote, an exported folder, or zoo/NAME.

    Raises `UserError` for a folder without a network, and for damaged files.
    """
    folder, path, tensors, metadata = open_folder(folder, f"run={folder}")
    with described(path):
        network = portable(tensors, metadata, ops, _results(folder, metadata))
        _ = network.model  # weights that do not fit are refused here
    return network


def portable(
    tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], ops: Ops, results: Mapping[str, Any]
) -> Portable:
    """The network of a checkpoint's tensors and metadata, which must fit; `results` are those of the test split."""
    of_bytes = metadata.get("pixel_type", "uint8") == "uint8"
    shape = tuple(int(number) for number in metadata["image_shape"])
    classes = tuple(str(name) for name in metadata["classes"])
    return Portable(
        metadata["model"],
        shape,
        classes,
        PixelScaling.recorded(metadata, np.float32 if of_bytes else np.float64),
        {name: np.asarray(tensor, np.float32) for name, tensor in tensors.items()},
        ops,
        about={"metadata": dict(metadata), "results": dict(results)},
    )


def _results(folder: Path, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The scores on the test split, if they were recorded; an exported folder has them beside its weights."""
    if isinstance(kept := metadata.get("results"), dict):
        return kept
    found: dict[str, Any] = {}
    for name in reversed(_RESULTS):
        if (folder / name).exists() and isinstance(content := read_json(folder / name), dict):
            found |= content
    return found
