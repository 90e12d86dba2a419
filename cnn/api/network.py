"""A trained network as data, which can be sent to other processes and run on any backend."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Ops, get_ops
from cnn.explaining import ClassMaps, class_maps
from cnn.models import InferenceModel, Model, build_model
from cnn.models.precision import ops_of_precision, storage_of
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.inference import predict_probabilities
from cnn.training.pixel_scaling import PixelScaling

_BATCH, _BATCHES = 256, 16  # images that the network sees at a time; such batches that are sent to the backend together


@functools.cache
def shared_backend(name: str, threads: int | None) -> Ops:
    """One backend for all estimators of this process, which share its threads, memory and compiled kernels."""
    return get_ops(name, threads)


def as_stored(images: NDArray[Any], scaling: PixelScaling) -> tuple[NDArray[Any], PixelScaling]:
    """Images as a backend stores them, and the scaling left to it: `scaling` for uint8; others are scaled here."""
    if images.dtype == np.uint8:
        return images, scaling
    return scaling.apply(images), PixelScaling.none(images.shape[3])


@dataclass
class Network:
    """The description of a model, its weights, and the scaling of its input.

    The weights are a copy on the host; a model is built from them on first use, and again for another backend.
    """

    config: Mapping[str, Any]  # as `build_model` takes it
    shape: tuple[int, ...]  # of one example: (h, w, c), or (c,) of vectors
    classes: int
    seed: int
    scaling: PixelScaling
    weights: Mapping[str, NDArray[Any]]
    origin: str = "the trained network"  # where the weights come from, for errors
    precision: str = "float32"  # of training and inference
    _model: Model | None = field(default=None, repr=False)
    _ops: Ops | None = field(default=None, repr=False)  # for which the model was built
    _inference: InferenceModel | None = field(default=None, repr=False)

    def model(self, ops: Ops) -> Model:
        """The model on the backend `ops`."""
        if self._model is None or self._ops is not ops:
            model = build_model(
                self.config,
                ops_of_precision(self.precision, ops),
                self.shape,
                self.classes,
                self.seed,
                storage=storage_of(self.precision),
                most=sum(tensor.size for tensor in self.weights.values()),
            )
            model.load_state(self.weights, self.origin)
            self._model, self._ops, self._inference = model, ops, None
        return self._model

    def probabilities(self, images: NDArray[Any], ops: Ops) -> NDArray[np.float64]:
        """Class probabilities (n, classes) of images (n, h, w, c), each row summing to 1."""
        model = self.model(ops)
        if self._inference is None:
            self._inference = InferenceModel(model)
        parts = []
        for start in range(0, len(images), _BATCH * _BATCHES):
            stored, batches = self._input(images[start : start + _BATCH * _BATCHES], ops)
            parts.append(predict_probabilities(self._inference, ops.array(stored), batches, _BATCH))
        found = np.concatenate(parts).astype(np.float64)
        return found / found.sum(axis=1, keepdims=True)

    def feature_maps(self, images: NDArray[Any], ops: Ops, names: Sequence[str] | None) -> dict[str, NDArray[Any]]:
        """The outputs of the nodes `names`, by default of all nodes, for images (n, h, w, c), in one batch."""
        stored, batches = self._input(images, ops)
        x = batches.plain(ops.array(stored), ops.array(np.arange(len(stored))))
        return {name: np.array(ops.to_numpy(y)) for name, y in self.model(ops).feature_maps(x, names).items()}

    def class_maps(
        self, images: NDArray[Any], ops: Ops, classes: NDArray[np.int64], node: str | None, method: str
    ) -> ClassMaps:
        """The maps of images (n, h, w, c) for the class numbers (n,): see `cnn.explaining.class_maps`."""
        stored, batches = self._input(images, ops)
        x = batches.plain(ops.array(stored), ops.array(np.arange(len(stored))))
        return class_maps(self.model(ops), x, classes, node, method)

    def _input(self, images: NDArray[Any], ops: Ops) -> tuple[NDArray[Any], BatchMaker]:
        stored, scaling = as_stored(images, self.scaling)
        return stored, BatchMaker(ops, scaling, AugmentSettings(), self.seed, len(self.shape) == 1)

    def __getstate__(self) -> dict[str, Any]:
        """The state without the model, which has threads and memory of a backend."""
        return vars(self) | {"_model": None, "_ops": None, "_inference": None}
