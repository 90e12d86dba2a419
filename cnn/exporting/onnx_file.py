"""Writes a network as ONNX: from stored pixels to probabilities, the batch of any size.

The graph is of opset 17, which every runtime of the last years reads. Images are turned to channels-first at its
beginning, as ONNX's operators need them. Batch norms stay nodes of their own: runtimes fold them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Activation, Window
from cnn.exporting.network import Portable, to_bfloat16
from cnn.exporting.parity import UNCHECKED
from cnn.exporting.windows import pads, plain_average, shares
from cnn.layers import (
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    Multiply,
    PReLULayer,
)
from cnn.layers.activations import ActivationLayer
from cnn.layers.dropout import RandomDrop
from cnn.models.graph import INPUT, Node
from foundation.extras import needed

OPSET, _IR_VERSION = 17, 8
PROBABILITIES, LOGITS = "probabilities", "logits"
_TO_FIRST, _TO_LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def write_onnx(network: Portable, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the model; `metadata` becomes its properties."""
    onnx = needed("onnx", "format=onnx", "export")
    maker = _Maker(onnx, network)
    graph = maker.graph()
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="cnn-from-scratch",
    )
    properties = {
        "classes": json.dumps(list(network.classes)),
        "input": f"{network.input_name}: {network.pixel_type} (batch, {', '.join(map(str, network.shape))}), unscaled",
        **metadata,
    }
    onnx.helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


class OnnxSession:
    """Runs an ONNX file with onnxruntime on one thread."""

    def __init__(self, path: Path) -> None:
        runtime = needed("onnxruntime", "the check of format=onnx", "export", UNCHECKED)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.referee = f"onnxruntime {runtime.__version__}"
        self._session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])

    def logits(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Logits (n, classes), for one batch of all inputs and checked by one of a single input."""
        name = self._session.get_inputs()[0].name
        found = self._session.run([LOGITS], {name: inputs})[0]
        first = self._session.run([LOGITS], {name: inputs[:1]})[0]
        return np.asarray(np.concatenate([first, found[1:]]))

    def metadata(self) -> dict[str, str]:
        """The properties of the model."""
        return dict(self._session.get_modelmeta().custom_metadata_map)


class _Maker:
    """Adds ONNX nodes for the nodes of a graph."""

    def __init__(self, onnx: Any, network: Portable) -> None:
        self.onnx, self.network = onnx, network
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.outputs: dict[int, str] = {}

    def graph(self) -> Any:
        """The whole graph."""
        helper, kinds, network = self.onnx.helper, self.onnx.TensorProto, self.network
        network.check_known("ONNX")
        kind = kinds.UINT8 if network.scaling.of_bytes else kinds.DOUBLE
        self.outputs[INPUT] = self._scaled()
        for index, node in enumerate(network.graph.nodes):
            self.outputs[index] = self._node(node)
        self._add("Identity", [self.outputs[len(network.graph.nodes) - 1]], LOGITS)
        self._add("Softmax", [LOGITS], PROBABILITIES, axis=1)
        classes = ["batch", len(network.classes)]
        return helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info(network.input_name, kind, ["batch", *network.shape])],
            [helper.make_tensor_value_info(name, kinds.FLOAT, classes) for name in (PROBABILITIES, LOGITS)],
            initializer=list(self.constants.values()),
        )

    def _scaled(self) -> str:
        """Pixels times scale plus offset, channels first. Of floating-point numbers computed in double precision."""
        network, kinds = self.network, self.onnx.TensorProto
        kind = kinds.FLOAT if network.scaling.of_bytes else kinds.DOUBLE
        at = network.input_name
        if network.scaling.of_bytes:
            at = self._add("Cast", [at], "pixels", to=kind)
        numbers = np.float32 if network.scaling.of_bytes else np.float64
        scale = self._constant("pixel_scale", network.scaling.scale.astype(numbers))
        offset = self._constant("pixel_offset", network.scaling.offset.astype(numbers))
        at = self._add("Add", [self._add("Mul", [at, scale], "pixels_times_scale"), offset], "scaled")
        if not network.scaling.of_bytes:
            at = self._add("Cast", [at], "scaled_float", to=kinds.FLOAT)
        return self._add("Transpose", [at], "channels_first", perm=_TO_FIRST) if len(network.shape) == 3 else at

    def _node(self, node: Node) -> str:  # noqa: PLR0911, PLR0912 - one case for each kind of layer
        inputs = [self.outputs[given] for given in node.inputs]
        name, layer = node.name, node.layer
        tensors = {key: self._constant(f"{name}.{key}", t) for key, t in self._tensors(node).items()}
        match layer:
            case Conv2D():
                return self._conv(node, inputs, tensors)
            case Dense():
                if "bias" in tensors:
                    return self._add("Gemm", [*inputs, tensors["weight"], tensors["bias"]], name)
                return self._add("MatMul", [*inputs, tensors["weight"]], name)
            case BatchNorm():
                order = [tensors[key] for key in ("gamma", "beta", "mean", "variance")]
                return self._add("BatchNormalization", [*inputs, *order], name, epsilon=layer.eps)
            case LayerNorm():
                return self._layer_norm(node, inputs[0], [tensors["gamma"], tensors["beta"]])
            case GroupNorm():
                return self._group_norm(node, inputs[0], tensors)
            case RandomDrop():
                return inputs[0]
            case ActivationLayer():
                return self._activation(layer.activation, inputs[0], name)
            case PReLULayer():
                return self._add("PRelu", [*inputs, tensors["slope"]], name)
            case MaxPool2D():
                return self._max_pool(layer.window(node.input_shape), inputs[0], name)
            case AvgPool2D():
                return self._avg_pool(layer, node, inputs[0])
            case GlobalAvgPool2D():
                return self._add("Flatten", [self._add("GlobalAveragePool", inputs, f"{name}.mean")], name, axis=1)
            case Flatten():
                if len(node.input_shape) == 3:
                    inputs = [self._add("Transpose", inputs, f"{name}.channels_last", perm=_TO_LAST)]
                return self._add("Flatten", inputs, name, axis=1)
            case Add():
                return self._add("Add", inputs, name)
            case Multiply():
                return self._add("Mul", self._as_images(node, inputs), name)
            case Concat():
                return self._add("Concat", inputs, name, axis=1)
        raise AssertionError(f"no ONNX for {layer!r}")

    def _tensors(self, node: Node) -> dict[str, NDArray[np.float32]]:
        """The node's tensors in ONNX's layouts."""
        tensors = self.network.of_node(node)
        if isinstance(node.layer, Conv2D):
            tensors["weight"] = tensors["weight"].transpose(3, 2, 0, 1)
        if isinstance(node.layer, PReLULayer) and len(node.shape) == 3:
            tensors["slope"] = tensors["slope"][:, None, None]
        if type(node.layer) is GroupNorm:
            ones = (1,) * (len(node.shape) - 1)
            tensors = {key: tensor.reshape(-1, *ones) for key, tensor in tensors.items()}
        return tensors

    def _conv(self, node: Node, inputs: list[str], tensors: Mapping[str, str]) -> str:
        layer = node.layer
        assert isinstance(layer, Conv2D)
        window = layer.window(node.input_shape)
        groups, _ = layer.groups_and_filters(node.input_shape[2])
        more = [tensors["bias"]] if "bias" in tensors else []
        return self._add("Conv", [*inputs, tensors["weight"], *more], node.name, group=groups, **_geometry(window))

    def _max_pool(self, window: Window, at: str, name: str) -> str:
        top, bottom, left, right = pads(window)
        if top >= window.kernel[0] or bottom >= window.kernel[0] or max(left, right) >= window.kernel[1]:
            # More padding than MaxPool takes; no pixel of it is the maximum.
            sides = self._constant(f"{name}.pads", np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
            lowest = self._constant(f"{name}.lowest", np.array(-np.inf, np.float32))
            at = self._add("Pad", [at, sides, lowest], f"{name}.padded")
            return self._add("MaxPool", [at], name, **{**_geometry(window), "pads": [0, 0, 0, 0]})
        return self._add("MaxPool", [at], name, **_geometry(window))

    def _avg_pool(self, layer: AvgPool2D, node: Node, at: str) -> str:
        window = layer.window(node.input_shape)
        if plain_average(window):
            return self._add("AveragePool", [at], node.name, kernel_shape=window.kernel, strides=window.stride)
        channels = node.shape[2]
        ones = self._constant(f"{node.name}.ones", np.ones((channels, 1, *window.kernel), np.float32))
        sums = self._add("Conv", [at, ones], f"{node.name}.sums", group=channels, **_geometry(window))
        return self._add("Mul", [sums, self._constant(f"{node.name}.shares", shares(layer, window))], node.name)

    def _layer_norm(self, node: Node, at: str, tensors: Sequence[str]) -> str:
        layer = node.layer
        assert isinstance(layer, LayerNorm)
        image = len(node.shape) == 3
        if image:
            at = self._add("Transpose", [at], f"{node.name}.channels_last", perm=_TO_LAST)
        name = f"{node.name}.normed" if image else node.name
        at = self._add("LayerNormalization", [at, *tensors], name, axis=-1, epsilon=layer.eps)
        return self._add("Transpose", [at], node.name, perm=_TO_FIRST) if image else at

    def _group_norm(self, node: Node, at: str, tensors: Mapping[str, str]) -> str:
        """Each group of channels is an instance of one channel; then the scale and shift of each channel."""
        layer, name = node.layer, node.name
        assert isinstance(layer, GroupNorm)
        *sides, channels = node.shape
        numbers: dict[str, NDArray[Any]] = {
            "grouped": np.array([0, layer.groups, -1], np.int64),
            "shape": np.array([0, channels, *sides], np.int64),
            "ones": np.ones(layer.groups, np.float32),
            "zeros": np.zeros(layer.groups, np.float32),
        }
        grouped, shape, ones, zeros = (self._constant(f"{name}.{key}", value) for key, value in numbers.items())
        at = self._add("Reshape", [at, grouped], f"{name}.in_groups")
        at = self._add("InstanceNormalization", [at, ones, zeros], f"{name}.normed", epsilon=layer.eps)
        at = self._add("Reshape", [at, shape], f"{name}.in_channels")
        at = self._add("Mul", [at, tensors["gamma"]], f"{name}.scaled")
        return self._add("Add", [at, tensors["beta"]], name)

    def _as_images(self, node: Node, inputs: list[str]) -> list[str]:
        """The inputs of a product; a gate (n, c) of an image as (n, c, 1, 1)."""
        found: list[str] = []
        for given, shape in zip(inputs, node.input_shape, strict=True):
            gate = len(shape) == 1 and len(node.shape) == 3
            if gate:
                axes = self._constant("gate_axes", np.array([2, 3], np.int64))
                found.append(self._add("Unsqueeze", [given, axes], f"{node.name}.gate_{len(found)}"))
            else:
                found.append(given)
        return found

    def _activation(self, activation: Activation, x: str, name: str) -> str:
        a, b = activation.a, activation.b
        simple: dict[str, tuple[str, dict[str, float]]] = {
            "relu": ("Relu", {}),
            "sigmoid": ("Sigmoid", {}),
            "tanh": ("Tanh", {}),
            "softplus": ("Softplus", {}),
            "hard_swish": ("HardSwish", {}),
            "leaky_relu": ("LeakyRelu", {"alpha": a}),
            "elu": ("Elu", {"alpha": a}),
            "selu": ("Selu", {"alpha": a, "gamma": b}),
        }
        if activation.name in simple:
            kind, attributes = simple[activation.name]
            return self._add(kind, [x], name, **attributes)
        if activation.name == "clip":
            bounds = [self._constant(f"{name}.{end}", np.array(value, np.float32)) for end, value in
                      (("low", a), ("high", b))]  # fmt: skip
            return self._add("Clip", [x, *bounds], name)
        if activation.name == "silu":
            return self._add("Mul", [x, self._add("Sigmoid", [x], f"{name}.gate")], name)
        if activation.name == "mish":
            gate = self._add("Tanh", [self._add("Softplus", [x], f"{name}.softplus")], f"{name}.gate")
            return self._add("Mul", [x, gate], name)
        assert activation.name == "gelu", activation
        numbers = {"root": math.sqrt(0.5), "one": 1.0, "half": 0.5}
        root, one, half = (self._constant(f"gelu.{key}", np.array(value, np.float32)) for key, value in numbers.items())
        erf = self._add("Erf", [self._add("Mul", [x, root], f"{name}.scaled")], f"{name}.erf")
        doubled = self._add("Mul", [x, self._add("Add", [erf, one], f"{name}.twice_cdf")], f"{name}.doubled")
        return self._add("Mul", [doubled, half], name)

    def _add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add a node of one output, which has its name."""
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name=f"{name}/{kind}", **attributes))
        return name

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant by its name; trained weights in the type in which the network is stored, and cast for use."""
        if name in self.constants or f"{name}/stored" in self.constants:
            return name
        weights, kinds = self.network.weights, self.onnx.TensorProto
        if name not in self.network.tensors or weights == "float32":
            self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name)
            return name
        value = np.ascontiguousarray(value)
        stored, kind = (
            (value.astype(np.float16), kinds.FLOAT16) if weights == "float16" else (to_bfloat16(value), kinds.BFLOAT16)
        )
        self.constants[f"{name}/stored"] = self.onnx.helper.make_tensor(
            f"{name}/stored", kind, value.shape, stored.tobytes(), raw=True
        )
        return self._add("Cast", [f"{name}/stored"], name, to=kinds.FLOAT)


def _geometry(window: Window) -> dict[str, Any]:
    """A window as the attributes of an operator."""
    top, bottom, left, right = pads(window)
    return {
        "kernel_shape": window.kernel,
        "strides": window.stride,
        "dilations": window.dilation,
        "pads": [top, left, bottom, right],
    }
