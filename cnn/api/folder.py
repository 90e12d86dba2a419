"""A trained network in a folder, which the commands can use like a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.api.network import Network
from cnn.api.options import FURTHER
from cnn.api.training import Trained
from cnn.backends import Ops
from cnn.models.entries import plain_entries
from cnn.models.precision import check_precision
from cnn.training.checkpoint import BEST, LAST, described, save_checkpoint
from cnn.training.loop import TrainerSettings
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.run_folder import open_folder
from foundation.errors import UserError

_LABELS = re.compile(r"[<>|=]?[biufUO]\d*")  # types of labels: booleans, numbers, text
_TRAINER = ("epochs", "batch_size", "label_smoothing", "clip_norm", "pixels", "early_stopping", "precision")


def write_folder(folder: Path, trained: Trained) -> None:
    """Write the network and the data for `read_folder`. Raises `UserError` for a network that cannot be saved."""
    if any((folder / name).exists() for name in (LAST, "metrics.json")):
        raise UserError(f"{folder} holds a run of cnn.train: choose another folder")
    metadata = metadata_of(trained)
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / BEST, trained.network.weights, metadata)


def metadata_of(trained: Trained) -> dict[str, Any]:
    """What a checkpoint has beside the weights. Raises `UserError` for a network that cannot be saved."""
    network = trained.network
    return {
        "model": {**network.config, "layers": plain_entries(network.config["layers"])},
        "classes": [str(label) for label in trained.classes.tolist()],
        "labels": _labels_as_data(trained.classes),
        "class_count": trained.class_count.tolist(),
        "image_shape": list(network.shape),
        "pixel_type": "uint8" if network.scaling.of_bytes else "float",
        "pixel_scale": network.scaling.scale.tolist(),
        "pixel_offset": network.scaling.offset.tolist(),
        "pack_hash": None,  # trained on arrays
        "history": trained.history,
        "epoch": trained.best_epoch,
        **trained.options,
        "class_weights": _weights_as_data(trained.options["class_weights"]),
    }


def read_folder(folder: Path, ops: Ops) -> tuple[Trained, dict[str, Any]]:
    """The network in `folder` on `ops`, and the estimator's options of its training.

    Raises `UserError` for a folder without a network, and for a damaged file.
    """
    _, path, tensors, metadata = open_folder(folder, str(folder))
    with described(path):
        trained = _trained(tensors, metadata, str(path))
        trained.network.model(ops)
        return trained, _parameters(metadata)


def _trained(tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any], origin: str) -> Trained:
    classes = _labels(metadata.get("labels"), metadata["classes"])
    kind: type[np.floating] = np.float32 if metadata.get("pixel_type", "uint8") == "uint8" else np.float64
    scaling = PixelScaling.recorded(metadata, kind)
    precision = metadata["trainer"].get("precision", "float32")
    check_precision(precision, f"{origin}: precision")
    shape = tuple(metadata["image_shape"])
    network = Network(
        metadata["model"], shape, len(classes), metadata["seed"], scaling, tensors, origin, precision=precision
    )
    return Trained(
        network=network,
        classes=classes,
        class_count=np.array(metadata.get("class_count", [0] * len(classes)), np.int64),
        history=metadata.get("history", []),
        best_epoch=metadata["epoch"],
        options={
            "validation": None,
            "class_weights": None,
            **{key: metadata[key] for key in ("augment", "optimizer", "schedule", "trainer", "seed")},
            **{key: metadata[key] for key in ("validation", "class_weights") if key in metadata},
        },
    )


def _parameters(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a `Classifier` that trains such a network."""
    trainer, unset = metadata["trainer"], asdict(TrainerSettings())
    return {
        **{name: metadata[name] for name in ("model", "optimizer", "schedule", "augment", "seed")},
        **{name: trainer[name] for name in _TRAINER if name in trainer},
        "trainer": {name: trainer[name] for name in FURTHER if trainer.get(name, unset[name]) != unset[name]} or None,
        "validation": metadata.get("validation"),
        "class_weights": _weights(metadata.get("class_weights", trainer["class_weights"])),
    }


def _labels_as_data(classes: NDArray[Any]) -> dict[str, Any]:
    values = classes.tolist()
    if not _LABELS.fullmatch(classes.dtype.str) or not all(isinstance(label, str | int | float) for label in values):
        raise UserError(f"labels of type {classes.dtype} cannot be saved: use text or whole numbers")
    return {"dtype": classes.dtype.str, "values": values}


def _labels(data: Mapping[str, Any] | None, names: list[str]) -> NDArray[Any]:
    """The labels of the training data; for a run of cnn.train the names of the classes."""
    if data is None:
        return np.array(names)
    if not _LABELS.fullmatch(data["dtype"]) or len(data["values"]) != len(names):
        raise TypeError("labels")
    return np.array(data["values"], np.dtype(data["dtype"]))


def _weights_as_data(weights: Any) -> Any:
    """Class weights for JSON: a mapping becomes a list of pairs, because keys would become text."""
    if not isinstance(weights, Mapping):
        return weights
    plain = [[np.asarray(label).tolist(), float(weight)] for label, weight in weights.items()]
    return {"of_labels": plain}


def _weights(data: Any) -> Any:
    if isinstance(data, Mapping):
        return dict(data["of_labels"])
    return None if data == "none" else data
