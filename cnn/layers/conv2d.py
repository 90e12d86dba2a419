"""Two-dimensional convolution."""

from __future__ import annotations

import math

from cnn.backends import Array, Epilogue, Window
from cnn.backends.window import Padding
from cnn.layers.base import (
    NO_EPILOGUE,
    Parameter,
    Pass,
    Producer,
    Shape,
    Tensors,
    image_shape,
    require_bool,
    require_float,
    require_int,
)
from cnn.layers.initializers import initializer, known_init


class Conv2D(Producer):
    """Cross-correlation with learned filters, (n, h, w, c) to (n, p, q, filters).

    `kernel`, `stride`, `dilation` are one number or (vertical, horizontal); `padding` is same, same_lower, valid or
    numbers of pixels; `groups` splits the channels; `l2` adds l2 * sum(weight ** 2) to the loss; `init` overrides the
    model's.
    """

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
        self.filters, self.groups = require_int(filters, "filters"), require_int(groups, "groups")
        self.kernel, self.stride, self.padding, self.dilation = kernel, stride, padding, dilation
        self.bias, self.l2 = require_bool(bias, "bias"), require_float(l2, "l2", 0, math.inf)
        self.init = known_init(init)

    def window(self, input_shape: Shape) -> Window:
        """The sliding window over an input of `input_shape`."""
        return Window.over(input_shape[:2], self.kernel, self.stride, self.padding, self.dilation)  # type: ignore[arg-type]

    def groups_and_filters(self, channels: int) -> tuple[int, int]:
        """Groups and filters for an input of that many channels."""
        return self.groups, self.filters

    def output_shape(self, input_shape: Shape) -> Shape:
        """(p, q, filters)."""
        channels = image_shape(input_shape)[2]
        groups, filters = self.groups_and_filters(channels)
        if channels % groups or filters % groups:
            raise ValueError(f"{channels} channels and {filters} filters do not divide into {groups} groups")
        return (*self.window(input_shape).output_hw, filters)

    def macs(self, input_shape: Shape) -> int:
        """Taps times input channels per group, for every output value."""
        p, q, filters = self.output_shape(input_shape)
        groups, _ = self.groups_and_filters(input_shape[2])
        return p * q * filters * self.window(input_shape).taps * input_shape[2] // groups

    def parameters(self, input_shape: Shape, init: str = "he_normal") -> dict[str, Parameter]:
        """`weight` (kh, kw, c / groups, filters) and `bias` (filters,)."""
        window, channels = self.window(input_shape), input_shape[2]
        groups, filters = self.groups_and_filters(channels)
        shape = (*window.kernel, channels // groups, filters)
        draw = initializer(self.init or init)
        fan_in, fan_out = window.taps * shape[2], window.taps * filters // groups
        found = {"weight": Parameter(shape, lambda rng: draw(rng, shape, fan_in, fan_out), l2=self.l2, product=True)}
        if self.bias:
            found["bias"] = Parameter((filters,), 0.0, decay=False)
        return found

    def forward(self, params: Tensors, x: Array, ctx: Pass, epilogue: Epilogue = NO_EPILOGUE) -> tuple[Array, Array]:
        """Convolve; saves the input for the gradient of the filters."""
        groups, _ = self.groups_and_filters(x.shape[3])
        window = self.window(x.shape[1:])
        return ctx.ops.conv2d(x, params["weight"], params.get("bias"), window, groups, epilogue), x

    def backward(self, params: Tensors, saved: Array, dy: Array, grads: Tensors, ctx: Pass) -> Array | None:
        """Gradients of filters, bias and input."""
        groups, _ = self.groups_and_filters(saved.shape[3])
        window = self.window(saved.shape[1:])
        with ctx.ops.beside(dy, saved):
            ctx.ops.conv2d_backward_filter(dy, saved, window, groups, out=grads["weight"])
            if self.bias:
                ctx.ops.bias_backward(dy, out=grads["bias"])
        if not ctx.input_gradient:
            return None
        return ctx.ops.conv2d_backward_input(dy, params["weight"], window, groups, ctx.summand)
