"""The reference models: the same networks in PyTorch, which is an optional dependency."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends import Activation, Window
from cnn.layers import (
    Add,
    AvgPool2D,
    BatchNorm,
    Concat,
    Conv2D,
    Dense,
    Dropout,
    DropPath,
    Flatten,
    GlobalAvgPool2D,
    GroupNorm,
    Join,
    LayerNorm,
    MaxPool2D,
    Parameter,
    PReLULayer,
    ReLU,
    Shape,
)
from cnn.layers.activations import ActivationLayer
from cnn.models import Model
from cnn.models.graph import INPUT, Graph, Node
from cnn.training.optimizers import AdamSettings, SgdSettings
from foundation.errors import UserError

CONTIGUOUS, CHANNELS_LAST = LAYOUTS = ("contiguous", "channels_last")


def torch_missing() -> str | None:
    """The reason why PyTorch cannot be used; None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module("torch")
    except (ImportError, OSError) as error:
        return "PyTorch is not installed" if isinstance(error, ModuleNotFoundError) else one_line(error)
    return None


def torch_facts() -> dict[str, Any]:
    """The versions of PyTorch and, if it has it, of cuDNN."""
    torch: Any = importlib.import_module("torch")
    cudnn = torch.backends.cudnn.version() if torch.cuda.is_available() else None
    return {"torch": str(torch.__version__), "torch_cuda": torch.version.cuda, "cudnn": cudnn}


def one_line(error: BaseException) -> str:
    """The error in one line that fits a table."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:160]


@contextmanager
def float32_switches() -> Iterator[None]:
    """Set PyTorch's options for the comparison, TF32 off and cuDNN benchmarking on; restore them afterwards.

    Its warnings, for example about these options, are ignored.
    """
    torch: Any = importlib.import_module("torch")
    switches = [
        (torch.backends.cuda.matmul, "allow_tf32", False),
        (torch.backends.cudnn, "allow_tf32", False),
        (torch.backends.cudnn, "benchmark", True),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = [getattr(owner, name) for owner, name, _ in switches]
        for owner, name, value in switches:
            setattr(owner, name, value)
        try:
            yield
        finally:
            for (owner, name, _), value in zip(switches, before, strict=True):
                setattr(owner, name, value)


class TorchReference:
    """The network `model` in PyTorch with the same weights, in its fastest eager form.

    Its images are `contiguous` (n, c, h, w) or `channels_last` in memory. ReLUs are in place if nothing else reads
    their input. With contiguous images a flattened vector has the channels first, which needs no copy; the columns of
    the dense layer after it have that order too.
    """

    def __init__(self, model: Model, device: str = "cpu", layout: str = CHANNELS_LAST) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.graph, self.device, self.layout = model.graph, device, layout
        self.specs = parameters_of(model)
        self.tensors: dict[str, Any] = {}  # PyTorch's parameters by their names in the model
        self._flattened: dict[str, Shape] = {}  # shape before flattening, by the weight whose columns have its order
        self._values = model.values.on_host()
        self.modules = {node.name: self._module(node) for node in self.graph.nodes}
        self._reorder_columns()
        self.module = _network(self.torch.nn, self.graph, list(self.modules.values()))
        self.module.to(device=device, memory_format=self.torch.channels_last)
        if layout == CONTIGUOUS:
            for tensor in self.tensors.values():
                # A filter over one channel is contiguous in both formats; PyTorch determines the format by new strides.
                tensor.data = self.torch.empty(tensor.shape, device=device).copy_(tensor.data)
        del self._values

    # --- inputs and outputs ------------------------------------------------------------------------------------------

    def images(self, images: NDArray[np.float32]) -> Any:
        """A batch (n, h, w, c) for PyTorch: (n, c, h, w), in the network's memory format and precision."""
        moved = self.torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2)
        last = self.layout == CHANNELS_LAST
        form = self.torch.channels_last if last else self.torch.contiguous_format
        return moved.to(next(iter(self.tensors.values())).dtype).clone(memory_format=form)

    def labels(self, labels: NDArray[np.int64]) -> Any:
        """The labels on PyTorch's device."""
        return self.torch.from_numpy(np.ascontiguousarray(labels)).to(self.device)

    def gradients(self) -> dict[str, NDArray[Any]]:
        """The gradients of the last backward pass in the model's layout, without those of `l2`."""
        zeros = self.torch.zeros_like
        grads = {name: zeros(own) if own.grad is None else own.grad for name, own in self.tensors.items()}
        return self._ours(grads)

    def weights(self) -> dict[str, NDArray[Any]]:
        """The parameters in the model's layout."""
        return self._ours(self.tensors)

    def take_statistics(self, model: Model) -> None:
        """Copy the model's running means and variances."""
        state = model.state()
        for name, module in self.modules.items():
            if hasattr(module, "running_mean"):
                module.running_mean.copy_(self.torch.from_numpy(state[f"{name}.mean"]))
                module.running_var.copy_(self.torch.from_numpy(state[f"{name}.variance"]))

    def penalty(self) -> Any:
        """The layers' `l2` penalties, which are added to the loss; 0 for none."""
        return sum(spec.l2 * self.tensors[name].square().sum() for name, spec in self.specs.items() if spec.l2)

    def optimizer(self, settings: SgdSettings | AdamSettings) -> tuple[Any, bool]:
        """PyTorch's optimizer with the same settings, and whether the layers' l2 must be added to the loss.

        If weight decay is added to the gradient, the l2 of a layer is part of it, which takes PyTorch no extra time.
        """
        torch = self.torch
        groups: dict[float, list[Any]] = {}
        for name, spec in self.specs.items():
            decay = (settings.weight_decay if spec.decay else 0.0) + (0.0 if settings.decoupled else 2 * spec.l2)
            groups.setdefault(decay, []).append(self.tensors[name])
        parts = [{"params": tensors, "weight_decay": decay} for decay, tensors in groups.items()]
        common: dict[str, Any] = {"lr": settings.learning_rate, "fused": True}
        if isinstance(settings, SgdSettings):
            optimizer = torch.optim.SGD(parts, momentum=settings.momentum, nesterov=settings.nesterov, **common)
        else:
            kind = torch.optim.AdamW if settings.decoupled else torch.optim.Adam
            optimizer = kind(parts, betas=(settings.beta1, settings.beta2), eps=settings.eps, **common)
        return optimizer, settings.decoupled and any(spec.l2 for spec in self.specs.values())

    def _ours(self, tensors: dict[str, Any]) -> dict[str, NDArray[Any]]:
        """Copies by parameter with our axes; the rows (c, h, w) of reordered ones are back in the order (h, w, c)."""
        found = {name: _from_torch(tensor.detach().cpu().numpy()).copy() for name, tensor in tensors.items()}
        for name, (height, width, channels) in self._flattened.items():
            rows = found[name].reshape(channels, height, width, -1)
            found[name] = rows.transpose(1, 2, 0, 3).reshape(height * width * channels, -1)
        return found

    # --- the network -------------------------------------------------------------------------------------------------

    def _module(self, node: Node) -> Any:
        """PyTorch's module for a node, with the node's weights."""
        make = next((_MAKERS[kind] for kind in type(node.layer).__mro__ if kind in _MAKERS), None)
        if make is None:
            raise UserError(f"{node.name}: the benchmark cannot build a {type(node.layer).__name__} in PyTorch")
        module = make(self, node, node.layer)
        self._take_weights(module, node)
        return module

    def convolution(self, node: Node, layer: Conv2D) -> Any:
        """A convolution, after a separate padding if that is not symmetric."""
        nn, window, shape = self.torch.nn, layer.window(node.input_shape), node.input_shape
        top, bottom, left, right = window.padding
        even = top == bottom and left == right
        groups, filters = layer.groups_and_filters(shape[2])
        padding = (top, left) if even else 0
        convolution = nn.Conv2d(
            shape[2], filters, window.kernel, window.stride, padding, window.dilation, groups, bias=layer.bias
        )
        return convolution if even else _padded(nn, (left, right, top, bottom), 0.0, convolution)

    def _take_weights(self, module: Any, node: Node) -> None:
        owner = next((each for each in module.modules() if getattr(each, "weight", None) is not None), None)
        for key, spec in node.layer.parameters(node.input_shape).items():
            name = f"{node.name}.{key}"
            tensor = getattr(owner, _THEIRS[key]).requires_grad_(spec.trained)
            with self.torch.no_grad():
                tensor.copy_(self.torch.from_numpy(np.ascontiguousarray(_to_torch(self._values[name]))))
            self.tensors[name] = tensor

    def alone_after_product(self, node: Node) -> bool:
        """Whether the node is the only reader of a layer's output, which the layer's gradient does not need."""
        (given,) = node.inputs
        if given == INPUT or len(self.graph.consumers()[given]) > 1:
            return False
        return isinstance(self.graph.nodes[given].layer, Conv2D | Dense | BatchNorm)

    def flatten(self, node: Node) -> Any:
        """Contiguous images are flattened with the channels first, if the readers of the vector can be reordered."""
        if self.layout == CONTIGUOUS and self._dense_behind(node) is not None:
            return self.torch.nn.Flatten()
        return _flatten_channels_last(self.torch.nn)

    def _dense_behind(self, node: Node) -> list[str] | None:
        """The dense layers that read the output of `node`, directly or after dropout; None if other layers read it."""
        readers = self.graph.consumers()
        found, ends = [self.graph.index(node.name)], []
        for at in found:
            for reader in readers[at]:
                layer = self.graph.nodes[reader].layer if reader < len(self.graph.nodes) else None
                if isinstance(layer, Dense):
                    ends.append(self.graph.nodes[reader].name)
                elif isinstance(layer, Dropout):
                    found.append(reader)
                else:
                    return None
        return ends

    def _reorder_columns(self) -> None:
        """The columns of a dense layer after a flattened image, in the order of that image."""
        if self.layout == CONTIGUOUS:
            for node in self.graph.nodes:
                if isinstance(node.layer, Flatten) and len(node.input_shape) == 3:
                    for name in self._dense_behind(node) or ():
                        self._reorder(f"{name}.weight", node.input_shape)

    def _reorder(self, weight: str, shape: Shape) -> None:
        height, width, channels = shape
        tensor = self.tensors[weight]
        ordered = tensor.detach().reshape(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)
        tensor.data = ordered.contiguous()
        self._flattened[weight] = (height, width, channels)


# The builder of the module for a layer's class, or for its nearest base class.
_MAKERS: dict[type, Callable[[TorchReference, Node, Any], Any]] = {
    Conv2D: TorchReference.convolution,
    Dense: lambda own, node, layer: own.torch.nn.Linear(node.input_shape[0], node.shape[0], bias=layer.bias),
    BatchNorm: lambda own, node, layer: _batch_norm(own.torch.nn, node.input_shape, layer),
    LayerNorm: lambda own, node, layer: _layer_norm(own.torch.nn, node.input_shape[-1], layer.eps),
    GroupNorm: lambda own, node, layer: own.torch.nn.GroupNorm(layer.groups, node.input_shape[-1], layer.eps),
    PReLULayer: lambda own, node, layer: own.torch.nn.PReLU(node.input_shape[-1]),
    ReLU: lambda own, node, layer: own.torch.nn.ReLU(inplace=own.alone_after_product(node)),
    ActivationLayer: lambda own, node, layer: _activation(own.torch.nn, layer.activation),
    Dropout: lambda own, node, layer: own.torch.nn.Dropout(layer.rate),
    DropPath: lambda own, node, layer: _drop_path(own.torch, layer.rate),
    MaxPool2D: lambda own, node, layer: _max_pool(own.torch.nn, layer.window(node.input_shape), layer.ceil),
    AvgPool2D: lambda own, node, layer: _average_pool(
        own.torch, layer.window(node.input_shape), layer.ceil, layer.count_include_pad
    ),
    GlobalAvgPool2D: lambda own, node, layer: own.torch.nn.Sequential(
        own.torch.nn.AdaptiveAvgPool2d(1), own.torch.nn.Flatten()
    ),
    Flatten: lambda own, node, layer: own.flatten(node),
    Join: lambda own, node, layer: _join(own.torch.nn, own.torch, layer),
}


def parameters_of(model: Model) -> dict[str, Parameter]:
    """The description of each parameter, with its `l2` and `decay`, by the parameter's name."""
    return {
        f"{node.name}.{key}": spec
        for node in model.graph.nodes
        for key, spec in node.layer.parameters(node.input_shape).items()
    }


_THEIRS = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias", "slope": "weight"}


def _to_torch(values: NDArray[Any]) -> NDArray[Any]:
    """Filters (kh, kw, c, k) to (k, c, kh, kw), matrices (c, k) to (k, c)."""
    return values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T


def _from_torch(values: NDArray[Any]) -> NDArray[Any]:
    return values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T


# --- wrappers of PyTorch's modules ------------------------------------------------------------------------------------


def _network(nn: Any, graph: Graph, modules: list[Any]) -> Any:
    """All nodes in order; an output is freed after its last use, as in a sequence of modules."""
    inputs = [node.inputs for node in graph.nodes]
    last = {given: index for index, each in enumerate(inputs) for given in each}
    done = [[given for given in last if last[given] == index] for index in range(len(inputs))]

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.nodes = nn.ModuleList(modules)

        def forward(self, x: Any) -> Any:
            values = {INPUT: x}
            del x
            for index, module in enumerate(self.nodes):
                values[index] = module(*(values[given] for given in inputs[index]))
                for given in done[index]:
                    del values[given]
            return values[len(inputs) - 1]

    return Network()


def _batch_norm(nn: Any, shape: Shape, layer: BatchNorm) -> Any:
    norm = nn.BatchNorm2d if len(shape) == 3 else nn.BatchNorm1d
    return norm(shape[-1], layer.eps, 1 - layer.momentum)


def _activation(nn: Any, activation: Activation) -> Any:
    made = {
        "clip": nn.Hardtanh,
        "sigmoid": lambda a, b: nn.Sigmoid(),
        "tanh": lambda a, b: nn.Tanh(),
        "leaky_relu": lambda a, b: nn.LeakyReLU(a),
        "elu": lambda a, b: nn.ELU(a),
        "selu": lambda a, b: nn.SELU(),
        "gelu": lambda a, b: nn.GELU(),
        "silu": lambda a, b: nn.SiLU(),
        "mish": lambda a, b: nn.Mish(),
        "softplus": lambda a, b: nn.Softplus(),
        "hard_swish": lambda a, b: nn.Hardswish(),
    }
    if activation.name not in made:
        raise UserError(f"the benchmark has no {activation.name} in PyTorch: add it to torch_reference.py")
    return made[activation.name](activation.a, activation.b)


def _padded(nn: Any, padding: tuple[int, int, int, int], value: float, module: Any) -> Any:
    """`module` after padding of (left, right, top, bottom) pixels; it keeps its parameters and attributes."""
    return nn.Sequential(nn.ConstantPad2d(padding, value), module)


def _even(window: Window) -> bool:
    """Whether PyTorch's pooling supports this padding: symmetric, and at most half a window."""
    top, bottom, left, right = window.padding
    halves = [size // 2 for size in window.kernel]
    return top == bottom <= halves[0] and left == right <= halves[1]


def _all_sides(window: Window) -> tuple[int, int, int, int]:
    (top, bottom, left, right), (below, beside) = window.padding, window.overhang
    return left, right + beside, top, bottom + below


def _max_pool(nn: Any, window: Window, ceil: bool) -> Any:
    if _even(window):
        padding = (window.padding[0], window.padding[2])
        return nn.MaxPool2d(window.kernel, window.stride, padding, window.dilation, ceil_mode=ceil)
    plain = nn.MaxPool2d(window.kernel, window.stride, 0, window.dilation)
    return _padded(nn, _all_sides(window), float("-inf"), plain)


def _average_pool(torch: Any, window: Window, ceil: bool, count_padding: bool) -> Any:
    nn: Any = torch.nn
    if _even(window) and window.dilation == (1, 1):
        padding = (window.padding[0], window.padding[2])
        return nn.AvgPool2d(window.kernel, window.stride, padding, ceil, count_padding)

    class AveragePool(nn.Module):
        """Sums by a convolution of each channel with ones, divided by the number of pixels that count."""

        def forward(self, x: Any) -> Any:
            (top, bottom, left, right), functional = window.padding, torch.nn.functional
            channels = x.shape[1]
            counted = torch.ones_like(x[:1, :1])
            sides, overhang = (left, right, top, bottom), (0, window.overhang[1], 0, window.overhang[0])
            counted = functional.pad(counted, sides, value=float(count_padding))
            counted = functional.pad(counted, overhang)
            ones = x.new_ones((channels, 1, *window.kernel))
            total = functional.conv2d(
                functional.pad(x, _all_sides(window)), ones, None, window.stride, 0, window.dilation, channels
            )
            return total / functional.conv2d(counted, ones[:1], None, window.stride, 0, window.dilation)

    return AveragePool()


def _layer_norm(nn: Any, channels: int, eps: float) -> Any:
    class ChannelNorm(nn.Module):
        """The channels of each pixel, or the elements of a vector."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(channels, eps)

        def forward(self, x: Any) -> Any:
            if x.dim() == 2:
                return self.norm(x)
            return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    return ChannelNorm()


def _drop_path(torch: Any, rate: float) -> Any:
    nn: Any = torch.nn

    class StochasticDepth(nn.Module):
        def forward(self, x: Any) -> Any:
            if not self.training:
                return x
            kept = x.new_empty((x.shape[0], *[1] * (x.dim() - 1))).bernoulli_(1 - rate)
            return x * kept / (1 - rate)

    return StochasticDepth()


def _join(nn: Any, torch: Any, layer: Join) -> Any:
    class Joined(nn.Module):
        def forward(self, *branches: Any) -> Any:
            if isinstance(layer, Concat):
                return torch.cat(branches, 1)
            first, second = branches
            if isinstance(layer, Add):
                return first + second
            if first.dim() < second.dim():
                first, second = second, first
            return first * (second if first.dim() == second.dim() else second[:, :, None, None])

    return Joined()


def _flatten_channels_last(nn: Any) -> Any:
    class FlattenChannelsLast(nn.Module):
        def forward(self, x: Any) -> Any:
            return (x.permute(0, 2, 3, 1) if x.dim() == 4 else x).flatten(1)

    return FlattenChannelsLast()
