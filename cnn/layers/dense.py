"""The fully connected layer."""

from __future__ import annotations

import math

import numpy as np

from cnn.backends import Array
from cnn.layers.base import BuildContext, Layer, Shape, flag, positive, vector_length, within
from cnn.layers.initializers import initializer, known_init


class Dense(Layer):
    """y = x @ weight + bias, (n, c) to (n, units). `units: classes` means one per class of the dataset."""

    takes_relu = True

    def __init__(self, units: int | str, bias: bool = True, l2: float = 0.0, init: str | None = None) -> None:
        super().__init__()
        if units != "classes":
            positive(units, "units")
        self.units, self.bias = units, flag(bias, "bias")
        self.l2, self.init = within(l2, "l2", 0, math.inf), known_init(init)
        self._x: Array | None = None
        self._y: Array | None = None

    def output_shape(self, input_shape: Shape) -> Shape:
        """(units,)."""
        vector_length(input_shape)
        if not isinstance(self.units, int):
            raise ValueError("'units: classes' needs a number of classes; the model's builder fills it in")
        return (self.units,)

    def macs(self, input_shape: Shape) -> int:
        """Inputs times units."""
        return vector_length(input_shape) * self.output_shape(input_shape)[0]

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Make `weight` (c, units) and `bias` (units,)."""
        super().build(context, input_shape)
        inputs, (units,) = vector_length(input_shape), self.output_shape(input_shape)
        draw = initializer(self.init or context.init)
        values = draw(context.generator(), (inputs, units), inputs, units)
        self.params["weight"] = context.parameter(values, l2=self.l2)
        if self.bias:
            self.params["bias"] = context.parameter(np.zeros(units), decay=False)

    def forward(self, x: Array, train: bool) -> Array:
        """Multiply; keeps the input for the weights' gradient, and the output if it applies a ReLU."""
        bias = self.params["bias"].value if self.bias else None
        y = self.ops.dense(x, self.params["weight"].value, bias, relu=self.relu)
        self._x, self._y = (x if train else None), (y if train and self.takes_relu_gradient else None)
        return y

    def backward(self, dy: Array) -> Array:
        """Gradients of weights, bias and input."""
        weight = self.params["weight"]
        if self.takes_relu_gradient:
            dy = self.ops.relu_backward(dy, self._y)
        weight.grad = self.ops.dense_backward_filter(dy, self._x)
        if self.bias:
            self.params["bias"].grad = self.ops.bias_backward(dy)
        self._x = self._y = None
        if not self.input_needs_gradient:
            return None
        return self.ops.dense_backward_input(dy, weight.value)
