"""Two-dimensional convolution."""

from __future__ import annotations

import math

import numpy as np

from cnn.backends import Array, Window
from cnn.backends.window import Padding
from cnn.layers.base import BuildContext, Layer, Shape, flag, image_shape, positive, within
from cnn.layers.initializers import initializer, known_init


class Conv2D(Layer):
    """Cross-correlation with learned filters, (n, h, w, c) to (n, p, q, filters).

    `kernel`, `stride`, `dilation` are one number or (vertical, horizontal); `padding` is same, valid or numbers of
    pixels; `groups` splits the channels; `l2` adds l2 * sum(weight ** 2) to the loss; `init` overrides the model's.
    """

    takes_relu = True

    def __init__(
        self,
        filters: int,
        kernel: int | tuple[int, int] = 3,
        stride: int | tuple[int, int] = 1,
        padding: Padding = "same",
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        l2: float = 0.0,
        init: str | None = None,
    ) -> None:
        super().__init__()
        self.filters, self.groups = positive(filters, "filters"), positive(groups, "groups")
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.bias, self.l2, self.init = flag(bias, "bias"), within(l2, "l2", 0, math.inf), known_init(init)
        self._x: Array | None = None
        self._y: Array | None = None

    def window(self, input_shape: Shape) -> Window:
        """The sliding window over an input of `input_shape`."""
        return Window.over(input_shape[:2], self.kernel, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]

    def output_shape(self, input_shape: Shape) -> Shape:
        """(p, q, filters)."""
        channels = image_shape(input_shape)[2]
        if channels % self.groups or self.filters % self.groups:
            raise ValueError(f"{channels} channels and {self.filters} filters do not divide into {self.groups} groups")
        return (*self.window(input_shape).output_hw, self.filters)

    def macs(self, input_shape: Shape) -> int:
        """Taps times input channels per group, for every output value."""
        p, q, filters = self.output_shape(input_shape)
        return p * q * filters * self.window(input_shape).taps * input_shape[2] // self.groups

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Make `weight` (kh, kw, c / groups, filters) and `bias` (filters,)."""
        super().build(context, input_shape)
        self.fixed_window = self.window(input_shape)
        shape = (*self.fixed_window.kernel, input_shape[2] // self.groups, self.filters)
        fan_in = self.fixed_window.taps * shape[2]
        fan_out = self.fixed_window.taps * self.filters // self.groups
        draw = initializer(self.init or context.init)
        self.params["weight"] = context.parameter(draw(context.generator(), shape, fan_in, fan_out), l2=self.l2)
        if self.bias:
            self.params["bias"] = context.parameter(np.zeros(self.filters), decay=False)

    def forward(self, x: Array, train: bool) -> Array:
        """Convolve; keeps the input for the filters' gradient, and the output if it applies a ReLU."""
        bias = self.params["bias"].value if self.bias else None
        y = self.ops.conv2d(x, self.params["weight"].value, bias, self.fixed_window, self.groups, relu=self.relu)
        self._x, self._y = (x if train else None), (y if train and self.takes_relu_gradient else None)
        return y

    def backward(self, dy: Array) -> Array:
        """Gradients of filters, bias and input."""
        weight = self.params["weight"]
        if self.takes_relu_gradient:
            dy = self.ops.relu_backward(dy, self._y)
        weight.grad = self.ops.conv2d_backward_filter(dy, self._x, self.fixed_window, self.groups)
        if self.bias:
            self.params["bias"].grad = self.ops.bias_backward(dy)
        self._x = self._y = None
        if not self.input_needs_gradient:
            return None
        return self.ops.conv2d_backward_input(dy, weight.value, self.fixed_window, self.groups)
