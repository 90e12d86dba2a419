"""ONNX's operators by ours: the one place that knows both conventions.

ONNX has images as (n, c, h, w) and filters as (k, c, kh, kw); images in one dimension become images of one row. A
function here takes a `Call`, the node and its inputs, and returns the node's outputs; all arrays are NumPy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from cnn.backends import Activation, Ops, RandomKey, Window
from onnx_vectors.cases import Case, Node

LATE = 10**9  # a step of Adam at which its corrections are 1


class Call:
    """Calls operations of a backend with NumPy's arrays, floats as `dtype`, and fetches what they return."""

    def __init__(self, ops: Ops, dtype: str) -> None:
        self.ops, self.dtype = ops, dtype

    def __call__(self, operation: str, *arguments: Any, **options: Any) -> Any:
        returned = getattr(self.ops, operation)(*map(self.put, arguments), **options)
        if isinstance(returned, tuple | list):
            return tuple(self.ops.to_numpy(array) for array in returned)
        return self.ops.to_numpy(returned)

    def put(self, value: Any) -> Any:
        """Arrays on the backend, those in a list too; other values as they are."""
        if isinstance(value, list):
            return [self.put(each) for each in value]
        if not isinstance(value, np.ndarray):
            return value
        kind = self.dtype if value.dtype.kind == "f" else value.dtype
        return self.ops.array(np.ascontiguousarray(value, kind).reshape(value.shape))


def run(ops: Ops, dtype: str, case: Case) -> dict[str, np.ndarray]:
    """The case's outputs by name."""
    call, values = Call(ops, dtype), dict(case.values)
    for node in case.nodes:
        inputs = [values[name] if name else None for name in node.inputs]
        outputs = OPERATORS[node.op](call, node, *inputs)
        values |= dict(zip(node.outputs, outputs, strict=False))
    return {name: np.asarray(values[name]) for name in case.expected}


# --- layouts --------------------------------------------------------------------------------------------------------


def channels_last(x: np.ndarray) -> np.ndarray:
    """(n, c, ...) as (n, ..., c)."""
    return np.moveaxis(x, 1, -1)


def channels_first(x: np.ndarray) -> np.ndarray:
    """(n, ..., c) as (n, c, ...)."""
    return np.moveaxis(x, -1, 1)


def image(x: np.ndarray) -> np.ndarray:
    """(n, c, h, w) or (n, c, w) as (n, h, w, c)."""
    return channels_last(x if x.ndim == 4 else x[:, :, None])


def like(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """(n, p, q, k) in the layout of the input x."""
    return channels_first(y if x.ndim == 4 else y[:, 0])


def rows(x: np.ndarray, axis: int) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """x as a matrix whose columns are `axis`, and what turns such a matrix back."""
    moved = np.moveaxis(x, axis, -1)
    return moved.reshape(-1, moved.shape[-1]), lambda y: np.moveaxis(y.reshape(moved.shape), -1, axis)


def pair(node: Node, name: str) -> tuple[int, int]:
    """An attribute of one number a spatial dimension, as (vertical, horizontal); 1 where it is left out."""
    numbers = tuple(node.attributes.get(name, (1, 1)))
    return numbers if len(numbers) == 2 else (1, *numbers)


def padding(node: Node) -> str | tuple[int, int, int, int]:
    """Ours of `auto_pad` and `pads`."""
    rule = node.attributes.get("auto_pad", b"NOTSET").decode()
    if rule != "NOTSET":
        return {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}[rule]
    pads = node.attributes.get("pads", (0, 0, 0, 0))
    if len(pads) == 2:
        return 0, 0, *pads
    top, left, bottom, right = pads
    return top, bottom, left, right


def window(node: Node, hw: tuple[int, ...], kernel: tuple[int, int]) -> Window:
    """The node's window over an image of `hw` pixels."""
    ceil = bool(node.attributes.get("ceil_mode", 0))
    return Window.over(hw, kernel, pair(node, "strides"), padding(node), pair(node, "dilations"), ceil=ceil)


# --- convolution and products ---------------------------------------------------------------------------------------


def conv(call: Call, node: Node, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    images, filters = image(x), (w if w.ndim == 4 else w[:, :, None]).transpose(2, 3, 1, 0)
    over = window(node, images.shape[1:3], filters.shape[:2])
    return (like(call("conv2d", images, filters, b, over, node.attributes.get("group", 1)), x),)


def conv_transpose(
    call: Call, node: Node, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """The gradient of a convolution's input. ONNX's filters (c_in, c_out / groups, kh, kw) are that convolution's."""
    dy, filters = image(x), (w if w.ndim == 4 else w[:, :, None]).transpose(2, 3, 1, 0)
    groups = node.attributes.get("group", 1)
    over = _transposed(node, dy.shape[1:3], filters.shape[:2])
    y = call("conv2d_backward_input", dy, filters, over, groups)
    if b is not None:
        y = call("add", y, np.broadcast_to(b, y.shape))
    return (like(y, x),)


def _transposed(node: Node, hw: tuple[int, ...], kernel: tuple[int, int]) -> Window:
    """The window over the larger image, which the convolution would make an image of `hw` pixels."""
    stride, dilation = pair(node, "strides"), pair(node, "dilations")
    extra = node.attributes.get("output_padding", (0, 0))
    one_row = len(node.attributes.get("strides", node.attributes.get("kernel_shape", (1, 1)))) == 1
    extra = (0, *extra)[-2:] if one_row else extra
    full = [
        s * (size - 1) + (k - 1) * d + 1 + e
        for s, size, k, d, e in zip(stride, hw, kernel, dilation, extra, strict=True)
    ]
    pads = padding(node)
    if pads == "same":
        total = [size - s * n for size, s, n in zip(full, stride, hw, strict=True)]
        pads = tuple(part for t in total for part in (t // 2, t - t // 2))
    larger = [full[0] - pads[0] - pads[1], full[1] - pads[2] - pads[3]]
    # An output shape that is named is larger than what is covered by less than a stride; pixels out of reach are 0.
    return Window.over(tuple(node.attributes.get("output_shape", larger)), kernel, stride, pads, dilation)


def gemm(call: Call, node: Node, a: np.ndarray, w: np.ndarray, c: np.ndarray | None = None) -> tuple[np.ndarray, ...]:
    """alpha * a @ w + beta * c; a c of one row is a bias, a c of many is added."""
    a, w = (m.T if node.attributes.get(name) else m for m, name in ((a, "transA"), (w, "transB")))
    a, units = node.attributes.get("alpha", 1.0) * a, w.shape[1]
    if c is None:
        return (call("dense", a, w, None),)
    c = node.attributes.get("beta", 1.0) * c
    if c.size in (1, units) and (c.ndim < 2 or len(c) == 1):
        return (call("dense", a, w, np.broadcast_to(c.reshape(-1), (units,))),)
    return (call("add", call("dense", a, w, None), c),)


def matmul(call: Call, node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (call("dense", a, b, None),)


# --- pooling --------------------------------------------------------------------------------------------------------


def max_pool(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    images = image(x)
    over = window(node, images.shape[1:3], pair(node, "kernel_shape"))
    y, taps = call("max_pool2d", images, over)
    return like(y, x), like(_places(taps, over, node.attributes.get("storage_order", 0)), x)


def _places(taps: np.ndarray, over: Window, column_major: int) -> np.ndarray:
    """ONNX's argmax of (n, p, q, c) taps: the pixel's index in x (n, c, h, w), or with each image's columns in turn."""
    (n, p, q, c), (height, width) = taps.shape, over.input_hw
    k, l = np.divmod(taps.astype(np.int64), over.kernel[1])  # noqa: E741
    row = np.arange(p)[:, None, None] * over.stride[0] + k * over.dilation[0] - over.padding[0]
    column = np.arange(q)[:, None] * over.stride[1] + l * over.dilation[1] - over.padding[2]
    first = (np.arange(n)[:, None, None, None] * c + np.arange(c)) * height * width
    return first + (column * height + row if column_major else row * width + column)


def max_unpool(call: Call, node: Node, x: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, ...]:
    """The gradient of a max pooling whose windows do not overlap: numbers go where the maxima were."""
    kernel, stride, dy = pair(node, "kernel_shape"), pair(node, "strides"), image(x)
    hw = tuple(s * (n - 1) + k for s, n, k in zip(stride, dy.shape[1:3], kernel, strict=True))
    row, column = np.divmod(image(places) % math.prod(hw), hw[1])
    down = row - stride[0] * np.arange(dy.shape[1])[:, None, None]
    right = column - stride[1] * np.arange(dy.shape[2])[:, None]
    taps = (down * kernel[1] + right).astype(np.uint8)
    return (like(call("max_pool2d_backward", dy, taps, Window.over(hw, kernel, stride)), x),)


def average_pool(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    images = image(x)
    over = window(node, images.shape[1:3], pair(node, "kernel_shape"))
    return (like(call("avg_pool2d", images, over, bool(node.attributes.get("count_include_pad", 0))), x),)


def global_average_pool(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (call("global_avg_pool2d", image(x))[:, :, None, None],)


def global_max_pool(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    images = image(x)
    return (like(call("max_pool2d", images, Window.over(images.shape[1:3], images.shape[1:3]))[0], x),)


# --- normalisation --------------------------------------------------------------------------------------------------


def batch_normalization(
    call: Call, node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> tuple[np.ndarray, ...]:
    pixels, back = rows(x, 1)
    running, eps = np.stack([mean, variance]), node.attributes.get("epsilon", 1e-5)
    if not node.attributes.get("training_mode", 0):
        return (back(call("normalize", pixels, scale, bias, running, eps)),)
    moments = call("moments", pixels)
    average = call.put(running)
    call.ops.running_average(average, call.put(moments), node.attributes.get("momentum", 0.9))
    return back(call("normalize", pixels, scale, bias, moments, eps)), *call.ops.to_numpy(average)


def mean_variance_normalization(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    pixels, back = rows(x, 1)
    one = np.ones(pixels.shape[1], np.float32)
    return (back(call("normalize", pixels, one, 0 * one, call("moments", pixels), 0.0)),)


def group_normalization(
    call: Call, node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, ...]:
    groups = node.attributes.get("num_groups", x.shape[1])  # InstanceNormalization: each channel for itself
    y, _ = call("group_norm", channels_last(x), scale, bias, groups, node.attributes.get("epsilon", 1e-5))
    return (channels_first(y),)


def layer_normalization(
    call: Call, node: Node, x: np.ndarray, scale: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Over all axes from `axis` on: each row of the matrix that they make is one group of channels."""
    axis, eps = node.attributes.get("axis", -1) % x.ndim, node.attributes.get("epsilon", 1e-5)
    pixels = x.reshape(math.prod(x.shape[:axis]), 1, -1)
    y, statistics = call("group_norm", pixels, scale.reshape(-1), bias.reshape(-1), 1, eps)
    mean, variance = statistics.reshape(-1, 2).T
    short = (*x.shape[:axis], *[1] * (x.ndim - axis))
    return y.reshape(x.shape), mean.reshape(short), (1 / np.sqrt(variance + eps)).reshape(short)


# --- activations ----------------------------------------------------------------------------------------------------


def activation(name: str, **parameters: tuple[str, float]) -> Callable[..., tuple[np.ndarray, ...]]:
    """The operator that is our activation `name`; for a and b ONNX's attribute and its default."""

    def apply(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
        numbers = {own: node.attributes.get(other, default) for own, (other, default) in parameters.items()}
        return (call("activation", x, Activation(name, **numbers)),)

    return apply


def clip(
    call: Call, node: Node, x: np.ndarray, low: np.ndarray | None = None, high: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Bounds are inputs, in the old version attributes, and may be left out."""
    a = node.attributes.get("min", -math.inf) if low is None else float(low)
    b = node.attributes.get("max", math.inf) if high is None else float(high)
    return (call("activation", x, Activation("clip", a, b)),)


def prelu(call: Call, node: Node, x: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    """A slope a channel: of the last axis, as numbers are broadcast; before version 7 of axis 1."""
    pixels, back = rows(x, 1 if node.version < 7 else -1)
    return (back(call("prelu", pixels, np.broadcast_to(slope.reshape(-1), (pixels.shape[1],)))),)


def softmax(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    logits, back = rows(x, node.attributes.get("axis", -1))
    return (back(call("softmax", logits)),)


def log_softmax(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    """Minus the loss of one row with one label, for every row and label."""
    logits, back = rows(x, node.attributes.get("axis", -1))
    one = np.ones(logits.shape[1], np.float32)
    losses = [[_loss(call, row[None], np.array([k]), one, None) for k in range(len(row))] for row in logits]
    return (back(-np.array(losses)),)


# --- losses ---------------------------------------------------------------------------------------------------------


def _loss(call: Call, logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, ignore: int | None) -> float:
    return float(call("cross_entropy", logits, labels, weights, ignore_index=ignore)[0])


def _cross_entropy(
    call: Call, node: Node, x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None, shift: np.ndarray
) -> np.ndarray:
    """ONNX's reduction of `-weight * (log_softmax(x)[label] + shift)` over x (n, k, ...), from our mean.

    Ours divides the sum by the number of rows that count, ONNX's mean by the sum of their weights:
    `onnx mean = our mean * rows / sum of weights`, and `onnx sum = our mean * rows`.
    """
    logits, _ = rows(x, 1)
    flat = labels.reshape(-1)
    ignore = node.attributes.get("ignore_index")
    given = np.ones(logits.shape[1], np.float32) if weights is None else weights
    counted = np.ones(len(flat), bool) if ignore is None else flat != ignore
    weight = np.where(counted, given[np.where(counted, flat, 0)], 0)
    added = -weight * shift
    if node.attributes.get("reduction", b"mean") == b"none":
        single = [_loss(call, logits[i : i + 1], flat[i : i + 1], given, ignore) for i in range(len(flat))]
        return (np.array(single) + added).reshape(labels.shape)
    total = _loss(call, logits, flat, given, ignore) * counted.sum() + added.sum()
    return np.array(total / weight.sum() if node.attributes.get("reduction", b"mean") == b"mean" else total)


def softmax_cross_entropy_loss(
    call: Call, node: Node, x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    loss = _cross_entropy(call, node, x, labels, weights, np.zeros(labels.size))
    # The second output is not wanted by every case, and the logarithms of a whole batch take a call each.
    if len(node.outputs) < 2:
        return (loss,)
    logits, back = rows(x, 1)
    return loss, back(np.log(call("softmax", logits).astype(float)))


def negative_log_likelihood_loss(
    call: Call, node: Node, x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """x need not be logarithms of probabilities: `x = log_softmax(x) + logsumexp(x)`."""
    logits, _ = rows(x, 1)
    return (_cross_entropy(call, node, x, labels, weights, special.logsumexp(logits.astype(float), axis=1)),)


# --- the rest -------------------------------------------------------------------------------------------------------


def dropout(call: Call, node: Node, x: np.ndarray, *_: Any) -> tuple[np.ndarray, ...]:
    """Of nothing: in inference, and with a ratio of 0. The mask is where ones stay."""
    key = RandomKey(1, 2, call.put(np.array([3])))
    y, kept = call("dropout", x, 0.0, key), call("dropout", np.ones(x.shape, np.float32), 0.0, key)
    return y, kept != 0


def add(call: Call, node: Node, *terms: np.ndarray) -> tuple[np.ndarray, ...]:
    total = terms[0]
    for term in terms[1:]:
        total = call("add", total, term)
    return (total,)


def multiply(call: Call, node: Node, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, ...]:
    return (call("multiply", a, b),)


def concat(call: Call, node: Node, *parts: np.ndarray) -> tuple[np.ndarray, ...]:
    axis = node.attributes["axis"]
    moved = [np.moveaxis(part, axis, -1) for part in parts]
    joined = call("concat", [part.reshape(-1, part.shape[-1]) for part in moved])
    return (np.moveaxis(joined.reshape(*moved[0].shape[:-1], -1), -1, axis),)


def split(call: Call, node: Node, x: np.ndarray, sizes: Sequence[int] | None = None) -> tuple[np.ndarray, ...]:
    axis = node.attributes.get("axis", 0)
    moved = np.moveaxis(x, axis, -1)
    if sizes is None:
        sizes = node.attributes.get("split")
    if sizes is None:
        parts = node.attributes.get("num_outputs", len(node.outputs))
        each = -(-moved.shape[-1] // parts)
        sizes = [min(each, moved.shape[-1] - i * each) for i in range(parts)]
    pieces = call("split", moved.reshape(-1, moved.shape[-1]), [int(size) for size in sizes])
    return tuple(np.moveaxis(piece.reshape(*moved.shape[:-1], -1), -1, axis) for piece in pieces)


# --- optimizers -----------------------------------------------------------------------------------------------------


def _tensors(arrays: Sequence[np.ndarray], kinds: int) -> list[tuple[np.ndarray, ...]]:
    """ONNX's X1, X2, ..., G1, G2, ..., V1, V2, ... as (X1, G1, V1), (X2, G2, V2), ..."""
    count = len(arrays) // kinds
    return [arrays[i::count] for i in range(count)]


def _updated(results: Sequence[Sequence[np.ndarray]]) -> tuple[np.ndarray, ...]:
    return tuple(array for kind in zip(*results, strict=True) for array in kind)


def momentum(call: Call, node: Node, rate: np.ndarray, step: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """`v = alpha * v + beta * (g + norm * x)`, with beta 1 in step 0.

    Ours has no beta: it is a factor of the gradient and of the decay. (With Nesterov's gradient only for beta 1.)
    """
    damping = float(node.attributes["beta"]) if step > 0 else 1.0
    nesterov = node.attributes["mode"] == b"nesterov"
    assert not nesterov or damping == 1
    results = []
    for x, g, v in _tensors(arrays, 3):
        p, velocity = call.put(x), call.put(v)
        call.ops.sgd_update(
            p,
            call.put(damping * g),
            velocity,
            learning_rate=_rate(call, rate),
            momentum=_rate(call, node.attributes["alpha"]),
            nesterov=nesterov,
            weight_decay=damping * node.attributes["norm_coefficient"],
            decoupled=False,
        )
        results.append([call.ops.to_numpy(p), call.ops.to_numpy(velocity)])
    return _updated(results)


def adam(call: Call, node: Node, rate: np.ndarray, step: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """`x -= r * sqrt(1 - beta ** t) / (1 - alpha ** t) * v / (sqrt(h) + eps)`, uncorrected in step 0.

    Ours corrects h before it adds eps, which is ONNX's eps for `eps / sqrt(1 - beta ** t)`. Step 0 is one so late
    that the corrections are 1.
    """
    late, beta = int(step) or LATE, node.attributes["beta"]
    results = []
    for x, g, v, h in _tensors(arrays, 4):
        p, first, second = call.put(x), call.put(v), call.put(h)
        call.ops.adam_update(
            p,
            call.put(g),
            first,
            second,
            learning_rate=_rate(call, rate),
            clock=call.put(np.array([late, 0, 0])),
            beta1=_rate(call, node.attributes["alpha"]),
            beta2=beta,
            eps=node.attributes["epsilon"] / math.sqrt(1 - beta**late),
            weight_decay=node.attributes["norm_coefficient"],
            decoupled=False,
        )
        results.append([call.ops.to_numpy(array) for array in (p, first, second)])
    return _updated(results)


def _rate(call: Call, rate: np.ndarray) -> Any:
    return call.ops.array(np.array([rate], np.float32))


# --- what only moves numbers ----------------------------------------------------------------------------------------


def _constant(call: Call, node: Node) -> tuple[np.ndarray, ...]:
    import onnx  # noqa: PLC0415

    return (onnx.numpy_helper.to_array(node.attributes["value"]),)


def _squeeze(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.squeeze(x, tuple(node.attributes["axes"])),)


def _unsqueeze(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (np.expand_dims(x, tuple(node.attributes["axes"])),)


def _transpose(call: Call, node: Node, x: np.ndarray) -> tuple[np.ndarray, ...]:
    return (x.transpose(node.attributes["perm"]),)


OPERATORS: Mapping[str, Callable[..., tuple[np.ndarray, ...]]] = {
    "Adam": adam,
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Concat": concat,
    "Constant": _constant,
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Dropout": dropout,
    "Elu": activation("elu", a=("alpha", 1.0)),
    "Gelu": activation("gelu"),
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GlobalMaxPool": global_max_pool,
    "GroupNormalization": group_normalization,
    "HardSwish": activation("hard_swish"),
    "InstanceNormalization": group_normalization,
    "LayerNormalization": layer_normalization,
    "LeakyRelu": activation("leaky_relu", a=("alpha", 0.01)),
    "LogSoftmax": log_softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "MeanVarianceNormalization": mean_variance_normalization,
    "Mish": activation("mish"),
    "Momentum": momentum,
    "Mul": multiply,
    "NegativeLogLikelihoodLoss": negative_log_likelihood_loss,
    "PRelu": prelu,
    "Relu": activation("relu"),
    "Selu": activation("selu", a=("alpha", 1.6732632423543772), b=("gamma", 1.0507009873554805)),
    "Sigmoid": activation("sigmoid"),
    "Softmax": softmax,
    "SoftmaxCrossEntropyLoss": softmax_cross_entropy_loss,
    "Softplus": activation("softplus"),
    "Split": split,
    "Squeeze": _squeeze,
    "Sum": add,
    "Swish": activation("silu"),
    "Tanh": activation("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
