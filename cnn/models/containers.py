"""Containers: layers that hold layers."""

from __future__ import annotations

from cnn.backends import Array
from cnn.layers import BuildContext, Layer, Shape


class Sequential(Layer):
    """One layer after another."""

    def __init__(self, layers: list[Layer]) -> None:
        super().__init__()
        self.layers = layers

    def output_shape(self, input_shape: Shape) -> Shape:
        """The last layer's."""
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def macs(self, input_shape: Shape) -> int:
        """The sum over all layers."""
        total = 0
        for layer in self.layers:
            total += layer.macs(input_shape)
            input_shape = layer.output_shape(input_shape)
        return total

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Build each layer for the shape that reaches it."""
        super().build(context, input_shape)
        for layer in self.layers:
            layer.build(context, input_shape)
            input_shape = layer.output_shape(input_shape)

    def forward(self, x: Array, train: bool) -> Array:
        """Through all layers."""
        for layer in self.layers:
            x = layer.forward(x, train)
        return x

    def backward(self, dy: Array) -> Array:
        """Back through all layers."""
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy

    def leaves(self) -> list[Layer]:
        """What every layer holds, in order."""
        return [leaf for layer in self.layers for leaf in layer.leaves()]


class Residual(Layer):
    """body(x) + shortcut(x); an empty shortcut is the identity (He et al. 2016)."""

    def __init__(self, body: Sequential, shortcut: Sequential) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def output_shape(self, input_shape: Shape) -> Shape:
        """The body's, which the shortcut's must equal."""
        body, shortcut = self.body.output_shape(input_shape), self.shortcut.output_shape(input_shape)
        if body != shortcut:
            raise ValueError(f"its layers end in {body} but its shortcut in {shortcut}: they cannot be added")
        return body

    def macs(self, input_shape: Shape) -> int:
        """Body and shortcut."""
        return self.body.macs(input_shape) + self.shortcut.macs(input_shape)

    def build(self, context: BuildContext, input_shape: Shape) -> None:
        """Build both ways."""
        super().build(context, input_shape)
        self.body.build(context, input_shape)
        self.shortcut.build(context, input_shape)

    def forward(self, x: Array, train: bool) -> Array:
        """Both ways, added."""
        return self.ops.add(self.body.forward(x, train), self.shortcut.forward(x, train))

    def backward(self, dy: Array) -> Array:
        """Both ways back, added."""
        return self.ops.add(self.body.backward(dy), self.shortcut.backward(dy))

    def leaves(self) -> list[Layer]:
        """The body's layers, then the shortcut's."""
        return self.body.leaves() + self.shortcut.leaves()
