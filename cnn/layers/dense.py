"""The fully connected layer."""

from __future__ import annotations

import copy
import math

from cnn.backends import Array, Epilogue
from cnn.layers.base import (
    NO_EPILOGUE,
    Layer,
    Parameter,
    Pass,
    Producer,
    Shape,
    Tensors,
    require_bool,
    require_float,
    require_int,
    vector_length,
)
from cnn.layers.initializers import initializer, known_init


class Dense(Producer):
    """y = x @ weight + bias, (n, c) to (n, units). `units: classes` means one per class of the dataset."""

    def __init__(self, units: int | str, bias: bool = True, l2: float = 0.0, init: str | None = None) -> None:
        if units != "classes":
            require_int(units, "units")
        self.units, self.bias = units, require_bool(bias, "bias")
        self.l2, self.init = require_float(l2, "l2", 0, math.inf), known_init(init)

    def for_classes(self, classes: int) -> Layer:
        """The layer with `classes` units in place of "classes"."""
        if self.units != "classes":
            return self
        found = copy.copy(self)
        found.units = classes
        return found

    def output_shape(self, input_shape: Shape) -> Shape:
        """(units,)."""
        vector_length(input_shape)
        if not isinstance(self.units, int):
            raise ValueError("'units: classes' needs a number of classes; the model's builder fills it in")
        return (self.units,)

    def macs(self, input_shape: Shape) -> int:
        """Inputs times units."""
        return vector_length(input_shape) * self.output_shape(input_shape)[0]

    def parameters(self, input_shape: Shape, init: str = "he_normal") -> dict[str, Parameter]:
        """`weight` (c, units) and `bias` (units,)."""
        inputs, (units,) = vector_length(input_shape), self.output_shape(input_shape)
        draw, shape = initializer(self.init or init), (inputs, units)
        found = {"weight": Parameter(shape, lambda rng: draw(rng, shape, inputs, units), l2=self.l2, product=True)}
        if self.bias:
            found["bias"] = Parameter((units,), 0.0, decay=False)
        return found

    def forward(self, params: Tensors, x: Array, ctx: Pass, epilogue: Epilogue = NO_EPILOGUE) -> tuple[Array, Array]:
        """Multiply; saves the input for the gradient of the weights."""
        return ctx.ops.dense(x, params["weight"], params.get("bias"), epilogue), x

    def backward(self, params: Tensors, saved: Array, dy: Array, grads: Tensors, ctx: Pass) -> Array | None:
        """Gradients of weights, bias and input."""
        ctx.ops.dense_backward_filter(dy, saved, out=grads["weight"])
        if self.bias:
            ctx.ops.bias_backward(dy, out=grads["bias"])
        return ctx.ops.dense_backward_input(dy, params["weight"]) if ctx.input_gradient else None
