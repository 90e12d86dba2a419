"""PyTorch's twin of one of our networks, as fast as PyTorch is on a CPU, in either memory format.

The network itself is built by `cnn.benchmarking.pytorch`; here it gets what only this comparison needs.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cpu_cells import LEARNING_RATE
from cnn.benchmarking.pytorch import TorchTwin
from cnn.layers import Layer, Shape
from cnn.layers.dense import Dense
from cnn.layers.flatten import Flatten
from cnn.models import Model
from cnn.models.containers import Residual

LAYOUTS = ("contiguous", "channels_last")


class CpuTwin(TorchTwin):
    """The network with the same weights, its images `contiguous` (n, c, h, w) or `channels_last` in memory.

    ReLUs work in place where nobody else reads their input. With contiguous images the flattened vector has the
    channels first, which costs no copy; the columns of the dense layer behind it are in that order, too.
    """

    def __init__(self, model: Model, layout: str) -> None:
        self.layer_of: dict[Any, str] = {}  # our layer's name by the module that stands for it
        super().__init__(model, "cpu")
        self.layout = layout
        self._flattened: dict[str, Shape] = {}  # shape before the flattening, by the weight whose columns it ordered
        self._relus_in_place()
        if layout == "contiguous":
            self._flatten_channels_first()
            for tensor in self.tensors.values():
                # A filter over one channel is contiguous in both formats: only new strides tell PyTorch which is meant.
                tensor.data = self.torch.empty(tensor.shape).copy_(tensor.data)

    def pictures(self, images: NDArray[np.float32]) -> Any:
        """A batch (n, h, w, c) as (n, c, h, w), in the twin's memory format."""
        if self.layout != "contiguous":
            return super().pictures(images)
        return self.torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)).copy())

    def gradients(self) -> dict[str, NDArray[np.float32]]:
        """What the last backward pass left, in the model's layout; without what `l2` adds."""
        return self._ours(super().gradients())

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """The parameters in the model's layout."""
        values = {name: tensor.detach().numpy() for name, tensor in self.tensors.items()}
        return self._ours({name: a.transpose(2, 3, 1, 0) if a.ndim == 4 else a.T for name, a in values.items()})

    def take_statistics(self) -> None:
        """Take over the model's running means and variances."""
        norms = {getattr(module, "weight", None): module for module in self.layer_of if hasattr(module, "running_mean")}
        for leaf in self.model.root.leaves():
            if leaf.buffers:
                norm = norms[self.tensors[f"{leaf.name}.gamma"]]
                norm.running_mean.copy_(self.torch.from_numpy(leaf.buffers["mean"]))
                norm.running_var.copy_(self.torch.from_numpy(leaf.buffers["variance"]))

    def optimizer(self) -> Any:
        """Adam in one pass over each tensor; the layers' l2 is weight decay, which costs least."""
        groups: dict[float, list[Any]] = {}
        for name, parameter in self.model.parameters.items():
            groups.setdefault(2 * parameter.l2, []).append(self.tensors[name])
        parts = [{"params": tensors, "weight_decay": decay} for decay, tensors in groups.items()]
        return self.torch.optim.Adam(parts, LEARNING_RATE, fused=True)

    def forget_ours(self) -> None:
        """Let go of our model's arrays: this process measures PyTorch's memory."""
        nothing = np.empty(0, np.float32)
        for leaf in self.model.root.leaves():
            for parameter in leaf.params.values():
                parameter.value = parameter.grad = nothing
            leaf.buffers.clear()
        self.model.buffers.clear()

    def _modules(self, layer: Layer, shape: Shape) -> list[Any]:
        modules = super()._modules(layer, shape)
        if not isinstance(layer, Residual):
            self.layer_of |= dict.fromkeys(modules, layer.name)
        return modules

    def _relus_in_place(self) -> None:
        nn = self.torch.nn
        owners = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d)
        for container in self.module.modules():
            if isinstance(container, nn.Sequential):
                children = list(container)
                for before, module in pairwise(children):
                    if isinstance(module, nn.ReLU) and isinstance(before, owners):
                        module.inplace = True

    def _flatten_channels_first(self) -> None:
        shape, before, name = self.model.input_shape, None, ""
        for layer in self.model.root.layers:
            if isinstance(layer, Flatten):
                before, name = shape, layer.name
            elif before is not None and layer.params:
                if isinstance(layer, Dense) and len(before) == 3:
                    self._reorder(before, name, f"{layer.name}.weight")
                return
            shape = layer.output_shape(shape)

    def _reorder(self, shape: Shape, flatten: str, weight: str) -> None:
        height, width, channels = shape
        tensor = self.tensors[weight]
        ordered = tensor.detach().reshape(-1, height, width, channels).permute(0, 3, 1, 2).flatten(1)
        tensor.data = ordered.contiguous()
        self._flattened[weight] = shape
        for index, module in enumerate(self.module):
            if self.layer_of.get(module) == flatten:
                self.module[index] = self.torch.nn.Flatten()
                self.layer_of[self.module[index]] = self.layer_of.pop(module)

    def _ours(self, arrays: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Arrays by parameter, rows (c, h, w) of the reordered ones back in the order (h, w, c)."""
        for name, (height, width, channels) in self._flattened.items():
            rows = arrays[name].reshape(channels, height, width, -1)
            arrays[name] = rows.transpose(1, 2, 0, 3).reshape(height * width * channels, -1)
        return arrays
