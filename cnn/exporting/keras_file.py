"""Writes a network as a `.keras` file of Keras 3, without Keras: its config as JSON, its weights as HDF5.

Keras is channels-last as we are, so weights keep their layout. It lacks some of our layers' options; a network with one
of these is refused, and the error names the layer.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Activation, Window
from cnn.exporting.network import Portable
from cnn.exporting.parity import UNCHECKED
from cnn.exporting.windows import even, pads
from cnn.layers import (
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    LayerNorm,
    MaxPool2D,
    Multiply,
    PReLULayer,
)
from cnn.layers.activations import ActivationLayer
from cnn.layers.dropout import Dropout, RandomDrop
from cnn.models.graph import INPUT, Node
from foundation.errors import UserError
from foundation.extras import needed

PROBABILITIES = "probabilities"
_VERSION = "3.0.0"  # the first version of the format; later ones read it
_LATEST = (1980, 1, 1, 0, 0, 0)  # the time of the files in the archive, so that equal networks give equal bytes


def write_keras(network: Portable, path: Path, metadata: Mapping[str, str]) -> None:
    """Write the file. Raises `UserError` for a network that Keras's layers cannot express."""
    h5py = needed("h5py", "format=keras", "export")
    maker = _Maker(network)
    maker.all()
    content = {
        "metadata.json": json.dumps({"keras_version": _VERSION, "date_saved": "1980-01-01@00:00:00"}),
        "config.json": json.dumps(maker.config(), sort_keys=True),
        "assets/cnn-from-scratch.json": json.dumps(
            {"classes": list(network.classes), **metadata}, sort_keys=True, ensure_ascii=True
        ),
    }
    weights = _weights_file(h5py, maker.weights)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, text in content.items():
            archive.writestr(zipfile.ZipInfo(name, _LATEST), text)
        archive.writestr(zipfile.ZipInfo("model.weights.h5", _LATEST), weights)


class KerasModel:
    """The written file, read and run by Keras."""

    def __init__(self, path: Path) -> None:
        if "KERAS_BACKEND" not in os.environ and find_spec("tensorflow") is None and find_spec("torch") is not None:
            os.environ["KERAS_BACKEND"] = "torch"  # Keras's own default is TensorFlow
        keras = needed("keras", "the check of format=keras", "keras", UNCHECKED)
        self.referee = f"keras {keras.__version__} on {keras.backend.backend()}"
        whole = keras.saving.load_model(path, compile=False)
        self._model = keras.Model(whole.input, whole.get_layer(PROBABILITIES).input)

    def logits(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Logits (n, classes), in front of the softmax that the file ends with."""
        return np.asarray(self._model.predict(inputs, verbose=0))


class _Maker:
    """Adds Keras layers for the nodes of a graph."""

    def __init__(self, network: Portable) -> None:
        self.network = network
        self.layers: list[dict[str, Any]] = []
        self.weights: list[tuple[str, list[NDArray[Any]]]] = []  # of every layer, by its class
        self.outputs: dict[int, str] = {}
        self.shapes: dict[str, tuple[tuple[int, ...], str]] = {}

    def all(self) -> None:
        """Add every layer."""
        network = self.network
        network.check_known("Keras")
        kind = "uint8" if network.scaling.of_bytes else "float64"
        self._add("InputLayer", network.input_name, [], network.shape, batch_shape=[None, *network.shape], dtype=kind)
        self.shapes[network.input_name] = network.shape, kind
        numbers = {key: getattr(network.scaling, key).tolist() for key in ("scale", "offset")}
        if network.scaling.of_bytes:
            at = self._add("Rescaling", "pixel_scaling", [network.input_name], network.shape, **numbers)
        else:  # the product of numbers with a large mean needs double precision
            at = self._add(
                "Rescaling", "pixel_scaling", [network.input_name], network.shape, dtype="float64", **numbers
            )
            self.shapes[at] = network.shape, "float64"
        self.outputs[INPUT] = at
        for index, node in enumerate(network.graph.nodes):
            self.outputs[index] = self._node(node, [self.outputs[given] for given in node.inputs])
        last = self.outputs[len(network.graph.nodes) - 1]
        self._add("Activation", PROBABILITIES, [last], (len(network.classes),), activation="softmax")

    def config(self) -> dict[str, Any]:
        """The model's config."""
        return {
            "module": "keras.src.models.functional",
            "class_name": "Functional",
            "registered_name": "Functional",
            "config": {
                "name": "network",
                "trainable": True,
                "layers": self.layers,
                "input_layers": [[self.network.input_name, 0, 0]],
                "output_layers": [[PROBABILITIES, 0, 0]],
            },
        }

    def _node(self, node: Node, inputs: list[str]) -> str:  # noqa: PLR0911, PLR0912 - one case for each kind of layer
        layer, name, shape, tensors = node.layer, node.name, node.shape, self.network.of_node(node)
        match layer:
            case DepthwiseConv2D():
                return self._depthwise(node, layer, inputs, tensors)
            case Conv2D():
                return self._conv(node, layer, inputs, tensors)
            case Dense():
                values = _present(tensors, "weight", "bias")
                return self._add("Dense", name, inputs, shape, values, units=shape[0], use_bias=layer.bias)
            case BatchNorm():
                values = _present(tensors, "gamma", "beta", "mean", "variance")
                options = {"momentum": layer.momentum, "epsilon": layer.eps}
                return self._add("BatchNormalization", name, inputs, shape, values, **options)
            case LayerNorm():
                values = _present(tensors, "gamma", "beta")
                return self._add("LayerNormalization", name, inputs, shape, values, axis=-1, epsilon=layer.eps)
            case GroupNorm():
                values = _present(tensors, "gamma", "beta")
                options = {"groups": layer.groups, "epsilon": layer.eps, "axis": -1}
                return self._add("GroupNormalization", name, inputs, shape, values, **options)
            case Dropout():
                return self._add("Dropout", name, inputs, shape, rate=layer.rate)
            case RandomDrop():
                return inputs[0]
            case ActivationLayer():
                return self._activation(node, layer.activation, inputs)
            case PReLULayer():
                shared = [1, 2] if len(shape) == 3 else None
                slope = tensors["slope"].reshape((1, 1, -1) if shared else (-1,))
                return self._add("PReLU", name, inputs, shape, [slope], shared_axes=shared)
            case MaxPool2D() | AvgPool2D():
                return self._pool(node, layer, inputs)
            case GlobalAvgPool2D():
                return self._add("GlobalAveragePooling2D", name, inputs, shape)
            case Flatten():
                return self._add("Flatten", name, inputs, shape)
            case Add():
                return self._add("Add", name, inputs, shape)
            case Multiply():
                return self._add("Multiply", name, self._as_images(node, inputs), shape)
            case Concat():
                return self._add("Concatenate", name, inputs, shape, axis=-1)
        raise AssertionError(f"no Keras for {layer!r}")

    def _conv(self, node: Node, layer: Conv2D, inputs: list[str], tensors: Mapping[str, NDArray[Any]]) -> str:
        window, (groups, filters) = layer.window(node.input_shape), layer.groups_and_filters(node.input_shape[2])
        inputs, padding = self._padded(node, window, inputs)
        options = {**_geometry(node, window), "groups": groups, "padding": padding, "use_bias": layer.bias}
        values = _present(tensors, "weight", "bias")
        return self._add("Conv2D", node.name, inputs, node.shape, values, filters=filters, **options)

    def _depthwise(
        self, node: Node, layer: DepthwiseConv2D, inputs: list[str], tensors: dict[str, NDArray[Any]]
    ) -> str:
        window = layer.window(node.input_shape)
        inputs, padding = self._padded(node, window, inputs)
        tensors["weight"] = tensors["weight"].reshape(*window.kernel, node.input_shape[2], layer.multiplier)
        options = {**_geometry(node, window), "depth_multiplier": layer.multiplier, "padding": padding}
        values = _present(tensors, "weight", "bias")
        return self._add("DepthwiseConv2D", node.name, inputs, node.shape, values, use_bias=layer.bias, **options)

    def _padded(self, node: Node, window: Window, inputs: list[str]) -> tuple[list[str], str]:
        """The inputs of a convolution, padded with zeros by a layer of their own unless Keras's rules do it."""
        if (rule := _rule(node, window)) is not None:
            return inputs, rule
        top, bottom, left, right = pads(window)
        shape = (*window.padded_hw, node.input_shape[2])
        sides = [[top, bottom], [left, right]]
        return [self._add("ZeroPadding2D", f"{node.name}_padding", inputs, shape, padding=sides)], "valid"

    def _pool(self, node: Node, layer: MaxPool2D | AvgPool2D, inputs: list[str]) -> str:
        window = layer.window(node.input_shape)
        if window.dilation != (1, 1):
            raise _refused(node, "dilation")
        kind = "MaxPooling2D" if isinstance(layer, MaxPool2D) else "AveragePooling2D"
        counted = isinstance(layer, AvgPool2D) and layer.count_include_pad
        rule = _rule(node, window)
        if rule is None and counted and not any(window.overhang):
            inputs, rule = self._padded(node, window, inputs)
        if rule is None or (counted and rule == "same" and any(window.padding)):
            raise _refused(node, f"padding {layer.padding}{' with ceil' if layer.ceil else ''}")
        if rule == "same" and isinstance(layer, AvgPool2D) and not even(window):
            raise _refused(
                node, "padding that is not the same on all sides, of which Keras's backends take other means;"
            )
        return self._add(
            kind, node.name, inputs, node.shape,
            pool_size=list(window.kernel), strides=list(window.stride), padding=rule,
        )  # fmt: skip

    def _as_images(self, node: Node, inputs: list[str]) -> list[str]:
        """The inputs of a product; a gate (n, c) of an image as (n, 1, 1, c)."""
        found: list[str] = []
        for given, shape in zip(inputs, node.input_shape, strict=True):
            if len(shape) == 1 and len(node.shape) == 3:
                target = (1, 1, shape[0])
                given = self._add("Reshape", f"{node.name}_gate_{len(found)}", [given], target, target_shape=target)  # noqa: PLW2901
            found.append(given)
        return found

    def _activation(self, node: Node, activation: Activation, inputs: list[str]) -> str:
        a, b = activation.a, activation.b
        name, shape = node.name, node.shape
        if activation.name == "clip" and a == 0 and b > 0:
            return self._add("ReLU", name, inputs, shape, max_value=b)
        if activation.name == "clip":  # the range is moved to 0, and back
            moved = self._add("Rescaling", f"{name}_down", inputs, shape, scale=1.0, offset=-a)
            moved = self._add("ReLU", f"{name}_clipped", [moved], shape, max_value=b - a)
            return self._add("Rescaling", name, [moved], shape, scale=1.0, offset=a)
        if activation.name == "leaky_relu":
            if a < 0:
                raise _refused(node, f"slope {a}")
            return self._add("LeakyReLU", name, inputs, shape, negative_slope=a)
        if activation.name == "elu":
            return self._add("ELU", name, inputs, shape, alpha=a)
        known = {"hard_swish": "hard_silu"}.get(activation.name, activation.name)
        return self._add("Activation", name, inputs, shape, activation=known)

    def _add(
        self,
        kind: str,
        name: str,
        inputs: Sequence[str],
        shape: Sequence[int],
        weights: Sequence[NDArray[Any]] = (),
        **options: Any,
    ) -> str:
        """Add a layer with its output's shape, weights and options; return its name."""
        built = [[None, *self.shapes[given][0]] for given in inputs]
        tensors = [_keras_tensor(given, *self.shapes[given]) for given in inputs]
        merges = kind in ("Add", "Multiply", "Concatenate")
        config = {"name": name, "trainable": True, "dtype": "float32", **options}
        if kind == "InputLayer":
            config.pop("trainable")
        entry: dict[str, Any] = {
            "module": "keras.layers",
            "class_name": kind,
            "config": config,
            "registered_name": None,
            "name": name,
            "inbound_nodes": [{"args": [tensors] if merges else tensors, "kwargs": {}}] if inputs else [],
        }
        if inputs:
            entry["build_config"] = {"input_shape": built if merges else built[0]}
        self.layers.append(entry)
        self.weights.append((kind, list(weights)))
        self.shapes[name] = tuple(shape), "float32"
        return name


def _keras_tensor(name: str, shape: Sequence[int], kind: str) -> dict[str, Any]:
    history = {"shape": [None, *shape], "dtype": kind, "keras_history": [name, 0, 0]}
    return {"class_name": "__keras_tensor__", "config": history}


def _geometry(node: Node, window: Window) -> dict[str, Any]:
    if window.stride != (1, 1) and window.dilation != (1, 1):
        raise _refused(node, "both stride and dilation")
    if isinstance(node.layer, DepthwiseConv2D) and window.stride[0] != window.stride[1]:
        raise _refused(node, f"stride {window.stride}")
    geometry = {"kernel_size": window.kernel, "strides": window.stride, "dilation_rate": window.dilation}
    return {key: list(value) for key, value in geometry.items()}


def _rule(node: Node, window: Window) -> str | None:
    """Keras's rule of padding that does the same as the window's, if any."""
    if not window.has_padding:
        return "valid"
    same = Window.over(window.input_hw, window.kernel, window.stride, "same", window.dilation)
    return "same" if pads(same) == pads(window) and same.output_hw == window.output_hw else None


def _refused(node: Node, what: str) -> UserError:
    return UserError(f"format=keras: {node.name} ({node.place}) has {what}, which Keras's layer does not have")


def _present(tensors: Mapping[str, NDArray[Any]], *keys: str) -> list[NDArray[Any]]:
    return [tensors[key] for key in keys if key in tensors]


def _weights_file(h5py: Any, layers: Sequence[tuple[str, list[NDArray[Any]]]]) -> bytes:
    """The HDF5 file: a group for each layer, called by its class and a count, with its weights by number."""
    counts: dict[str, int] = {}
    with h5py.File("weights", "w", driver="core", backing_store=False) as file:
        file.create_group("vars")
        for kind, weights in layers:
            base = snake_case(kind)
            counts[base] = counts.get(base, -1) + 1
            name = f"{base}_{counts[base]}" if counts[base] else base
            group = file.create_group(f"layers/{name}/vars")
            for number, tensor in enumerate(weights):
                group.create_dataset(str(number), data=np.ascontiguousarray(tensor, np.float32))
        file.flush()
        return bytes(file.id.get_file_image())


def snake_case(name: str) -> str:
    """The name of a class as Keras writes it in files: PReLU is p_re_lu, Conv2D is conv2d."""
    found = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", found).lower()
