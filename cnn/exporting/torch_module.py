"""Writes a network as a PyTorch class: a Python file that needs torch and safetensors alone, and its weights beside it.

The file is for reading: a line for each layer in `__init__`, and a line for each node in `forward`. Text
from the network's folder is in it only as quoted literals.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Activation, Window
from cnn.exporting.network import Portable
from cnn.exporting.parity import UNCHECKED, Parity
from cnn.exporting.safetensors_file import write_safetensors
from cnn.exporting.windows import even, pads, plain_average, shares
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
from cnn.layers.dropout import Dropout, RandomDrop
from cnn.models.graph import INPUT, Node
from foundation.extras import needed
from foundation.files import atomic_path

PRODUCER = "cnn-from-scratch"  # in the metadata: dense layers read images pixel by pixel
_HEAD = '''"""{title}, as a PyTorch module.

    network = load()                  # reads the weights from the file beside this one
    logits = network(pixels)          # pixels {kind}, not scaled
    logits.softmax(dim=1)             # probabilities, in the order of CLASSES

Needs torch and safetensors.
{parity}
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

CLASSES = {classes}
INPUT_SHAPE = {shape}  # of one example


class Network(nn.Module):
    """Maps stored pixels to logits, one for each of CLASSES."""

'''

_LOAD = '''

def load(path=None):
    """The trained network, ready for inference; `path` is the file with the weights, by default the one beside."""
    network = Network()
    weights = load_file(Path(__file__).with_suffix(".safetensors") if path is None else path)
    network.load_state_dict({name: tensor.to(network.state_dict()[name].dtype) for name, tensor in weights.items()})
    return network.eval()
'''


def torch_source(network: Portable, parity: Parity | None = None, own_order: bool = True) -> str:
    """The text of the Python file. Without `own_order` images are flattened as PyTorch does, channel by channel."""
    network.check_known("PyTorch")
    made, computed, outputs = [], [], {}
    outputs[INPUT] = "x"
    for index, node in enumerate(network.graph.nodes):
        line = _constructor(node)
        if line is not None:
            made.append(f"self.{node.name} = {line}")
        if isinstance(node.layer, AvgPool2D) and not plain_average(window := node.layer.window(node.input_shape)):
            made += _average_buffers(node, window)
        expression = _expression(node, [outputs[given] for given in node.inputs])
        if not own_order and isinstance(node.layer, Flatten):
            expression = f"{outputs[node.inputs[0]]}.flatten(1)"
        outputs[index] = node.name
        computed.append(f"{node.name} = {expression}")
    image = len(network.shape) == 3
    scaled = "pixels * self.pixel_scale + self.pixel_offset"
    if not network.scaling.of_bytes:  # float64, as numbers with a large mean need
        scaled = "(pixels.double() * self.pixel_scale + self.pixel_offset).float()"
    # The input is channels-last, as images are stored; PyTorch's layers are channels-first.
    computed.insert(0, f"x = ({scaled}).permute(0, 3, 1, 2)" if image else f"x = {scaled}")
    number = "float32" if network.scaling.of_bytes else "float64"
    channels = network.shape[-1]
    buffers = [
        f'self.register_buffer("pixel_{key}", torch.empty({channels}, dtype=torch.{number}))'
        for key in ("scale", "offset")
    ]
    shape = ", ".join(map(str, network.shape))
    head = _HEAD.format(
        title="A trained network",
        kind=f"(n, {shape}) of type {network.pixel_type if image else 'float'}",
        parity="Not compared with the original network." if parity is None else f"Checked: {parity}.",
        classes=ascii(list(network.classes)),
        shape=repr(tuple(network.shape)),
    )
    lines = ["    def __init__(self):", "        super().__init__()"]
    lines += [f"        {line}" for line in [*buffers, *made]]
    lines += ["", "    def forward(self, pixels):"]
    lines += [f"        {line}" for line in computed]
    lines += [f"        return {outputs[len(network.graph.nodes) - 1]}", ""]
    return head + "\n".join(lines) + _LOAD


def torch_tensors(network: Portable) -> dict[str, NDArray[Any]]:
    """The state dict of the module, in PyTorch's layouts; Conv2d's weights are (filters, c / groups, kh, kw)."""
    found: dict[str, NDArray[Any]] = {
        "pixel_scale": network.scaling.scale,
        "pixel_offset": network.scaling.offset,
    }
    for node in network.graph.nodes:
        for key, tensor in network.of_node(node).items():
            found[f"{node.name}.{_NAMES.get(key, key)}"] = torch_layout(node, key, tensor)
        if isinstance(node.layer, BatchNorm):
            found[f"{node.name}.num_batches_tracked"] = np.array(0, np.int64)
        layer = node.layer
        if isinstance(layer, AvgPool2D) and not plain_average(window := layer.window(node.input_shape)):
            found[f"{node.name}_ones"] = np.ones((node.shape[2], 1, *window.kernel), np.float32)
            found[f"{node.name}_shares"] = shares(layer, window)
    return found


_NAMES = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "variance": "running_var", "slope": "weight"}


def torch_layout(node: Node, key: str, tensor: NDArray[Any]) -> NDArray[Any]:
    """A tensor of a node in PyTorch's layout."""
    if key == "weight" and isinstance(node.layer, Conv2D):
        return tensor.transpose(3, 2, 0, 1)
    if key == "weight" and isinstance(node.layer, Dense):
        return tensor.T
    return tensor


def write_torch(network: Portable, path: Path, parity: Parity | None, metadata: Mapping[str, str]) -> None:
    """Write the Python file and, beside it with the ending .safetensors, the weights."""
    with atomic_path(path.with_suffix(".safetensors")) as weights, atomic_path(path) as source:
        small = {f"{node.name}." for node in network.graph.nodes}
        write_safetensors(
            weights,
            torch_tensors(network),
            {**metadata, "producer": PRODUCER, "classes": json.dumps(list(network.classes))},
            network.weights,
            lambda name: any(name.startswith(prefix) for prefix in small),
        )
        source.write_text(torch_source(network, parity), encoding="utf-8")


class TorchModule:
    """The written class with the written weights, run by PyTorch."""

    def __init__(self, network: Portable, folder: Path) -> None:
        """Writes both files to `folder` and runs them from there."""
        path = folder / "network.py"
        write_torch(network, path, None, {})  # first: whether PyTorch could have the network does not depend on it
        self._torch = needed("torch", "the check of format=torch", "bench", UNCHECKED)
        names: dict[str, Any] = {"__name__": "exported", "__file__": str(path)}
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), names)  # our own text, from `torch_source`
        self.referee = f"torch {self._torch.__version__.partition('+')[0]}"
        self.network = names["load"]()

    def logits(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Logits (n, classes)."""
        with self._torch.no_grad():
            return np.asarray(self.network(self._torch.from_numpy(np.ascontiguousarray(inputs))).numpy())


def _constructor(node: Node) -> str | None:  # noqa: PLR0911 - one case for each kind of layer
    """The layer of a node in `__init__`; None for one without weights and settings."""
    layer = node.layer
    channels = node.input_shape[-1] if isinstance(node.input_shape[0], int) else None
    match layer:
        case Conv2D():
            window = layer.window(node.input_shape)
            groups, filters = layer.groups_and_filters(node.input_shape[2])
            options = _geometry(window)
            if groups != 1:
                options += f", groups={groups}"
            if not layer.bias:
                options += ", bias=False"
            return f"nn.Conv2d({channels}, {filters}, kernel_size={window.kernel}{options})"
        case Dense():
            return f"nn.Linear({channels}, {node.shape[0]}{'' if layer.bias else ', bias=False'})"
        case BatchNorm():
            kind = "BatchNorm2d" if len(node.shape) == 3 else "BatchNorm1d"
            return f"nn.{kind}({channels}, eps={layer.eps!r}, momentum={round(1 - layer.momentum, 10)!r})"
        case LayerNorm():
            return f"nn.LayerNorm({channels}, eps={layer.eps!r})"
        case GroupNorm():
            return f"nn.GroupNorm({layer.groups}, {channels}, eps={layer.eps!r})"
        case Dropout():
            return f"nn.Dropout({layer.rate!r})"
        case PReLULayer():
            return f"nn.PReLU({channels})"
        case MaxPool2D():
            window = layer.window(node.input_shape)
            return f"nn.MaxPool2d(kernel_size={window.kernel}, {_geometry(window, max_pool=True)[2:]})"
        case AvgPool2D():
            window = layer.window(node.input_shape)
            if plain_average(window):
                return f"nn.AvgPool2d(kernel_size={window.kernel}, stride={window.stride})"
    return None


def _geometry(window: Window, max_pool: bool = False) -> str:
    """Stride, padding and dilation as arguments, as far as they are not the defaults."""
    found = f", stride={window.stride}" if window.stride != (1, 1) or max_pool else ""
    if _padding(window, max_pool) is None and window.has_padding:
        found += f", padding={(pads(window)[0], pads(window)[2])}"
    if window.dilation != (1, 1):
        found += f", dilation={window.dilation}"
    return found


def _padding(window: Window, max_pool: bool = False) -> tuple[int, int, int, int] | None:
    """The padding that a line of its own must do, (left, right, top, bottom); None if the layer does it.

    PyTorch's layers have the same on opposite sides, those of a pooling at most half the window.
    """
    top, bottom, left, right = pads(window)
    small = top <= window.kernel[0] // 2 and left <= window.kernel[1] // 2
    return None if even(window) and (small or not max_pool) else (left, right, top, bottom)


def _average_buffers(node: Node, window: Window) -> list[str]:
    """Averages that count pixels in another way than PyTorch: sums of windows, multiplied by one over the count."""
    ones, fractions = (node.shape[2], 1, *window.kernel), window.output_hw
    return [
        f'self.register_buffer("{node.name}_ones", torch.ones{ones})',
        f'self.register_buffer("{node.name}_shares", torch.empty{fractions})  # one over the pixels in each window',
    ]


def _expression(node: Node, inputs: list[str]) -> str:  # noqa: PLR0911, PLR0912 - one case for each kind of layer
    """What `forward` computes for a node."""
    layer, own, x = node.layer, f"self.{node.name}", inputs[0]
    match layer:
        case Conv2D() | MaxPool2D():
            pooling = isinstance(layer, MaxPool2D)
            padding = _padding(layer.window(node.input_shape), pooling)
            if padding is None:
                return f"{own}({x})"
            return f"{own}(F.pad({x}, {padding}{', value=-torch.inf' if pooling else ''}))"
        case AvgPool2D():
            window = layer.window(node.input_shape)
            if plain_average(window):
                return f"{own}({x})"
            top, bottom, left, right = pads(window)
            more = f"stride={window.stride}, dilation={window.dilation}, groups={node.shape[2]}"
            padded = f"F.pad({x}, {(left, right, top, bottom)})"
            return f"F.conv2d({padded}, {own}_ones, {more}) * {own}_shares"
        case LayerNorm() if len(node.shape) == 3:
            return f"{own}({x}.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)"
        case ActivationLayer():
            return _activation(layer.activation, x)
        case GlobalAvgPool2D():
            return f"{x}.mean(dim=(2, 3))"
        case Flatten():
            # Our dense layers see the channels of the first pixel, then those of the second, and so on.
            return f"{x}.permute(0, 2, 3, 1).flatten(1)" if len(node.input_shape) == 3 else f"{x}.flatten(1)"
        case Add():
            return f"{inputs[0]} + {inputs[1]}"
        case Multiply():
            factors = [
                f"{given}[:, :, None, None]" if len(shape) < len(node.shape) else given
                for given, shape in zip(inputs, node.input_shape, strict=True)
            ]
            return " * ".join(factors)
        case Concat():
            return f"torch.cat([{', '.join(inputs)}], dim=1)"
        case Dropout():
            return f"{own}({x})"
        case RandomDrop():
            return f"{x}  # stochastic depth, which only training has"
    return f"{own}({x})"


def _activation(activation: Activation, x: str) -> str:
    a, b = activation.a, activation.b
    return {
        "relu": f"F.relu({x})",
        "clip": f"{x}.clamp({a!r}, {b!r})",
        "sigmoid": f"torch.sigmoid({x})",
        "tanh": f"torch.tanh({x})",
        "leaky_relu": f"F.leaky_relu({x}, {a!r})",
        "elu": f"F.elu({x}, {a!r})",
        "selu": f"F.selu({x})",
        "gelu": f"F.gelu({x})",
        "silu": f"F.silu({x})",
        "mish": f"F.mish({x})",
        "softplus": f"F.softplus({x})",
        "hard_swish": f"F.hardswish({x})",
    }[activation.name]
