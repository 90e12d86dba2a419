"""Joins of branches: sums, products, concatenations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

from cnn.backends import Array
from cnn.backends import Join as JoinStage
from cnn.layers.base import Layer, Pass, Shape, Tensors

Shapes = Sequence[Shape]


class Join(Layer):
    """A layer of several inputs: it takes tuples of shapes and arrays."""

    @abstractmethod
    def output_shape(self, input_shape: Shapes) -> Shape:
        """The shape of the result. Raises ValueError if the branches do not fit together."""


class ElementwiseJoin(Join):
    """An element-wise join of two inputs: a stage in the tail of the input that is computed last."""

    kind: Literal["add", "multiply"]

    def main(self, input_shape: Shapes) -> tuple[int, ...]:
        """The inputs in whose block the join can be a stage; the other input is then its operand."""
        return tuple(i for i, shape in enumerate(input_shape) if shape == self.output_shape(input_shape))

    def stage(self, other: Array) -> JoinStage:
        """The join with `other` as data."""
        return JoinStage(self.kind, other)

    def forward(self, params: Tensors, x: tuple[Array, Array], ctx: Pass) -> tuple[Array, Any]:
        """Join both inputs."""
        main, other = self._ordered(x)
        y, saved = ctx.ops.tail(main, (self.stage(other),), keep=ctx.keeps)
        return y, (saved, other, main is x[0])

    def backward(self, params: Tensors, saved: Any, dy: Array, grads: Tensors, ctx: Pass) -> tuple[Array, Array]:
        """The gradients of both inputs."""
        kept, other, in_order = saved
        dmain, (dother,) = ctx.ops.tail_backward(dy, (self.stage(other),), kept)
        return (dmain, dother) if in_order else (dother, dmain)

    @staticmethod
    def _ordered(x: tuple[Array, Array]) -> tuple[Array, Array]:
        return x if x[0].ndim >= x[1].ndim else (x[1], x[0])


class Add(ElementwiseJoin):
    """The sum of two branches of equal shape, as in a residual block (He et al. 2016)."""

    kind = "add"

    def output_shape(self, input_shape: Shapes) -> Shape:
        """The shape of both inputs."""
        first, second = input_shape
        if first != second:
            raise ValueError(f"its branches end in {first} and {second}: they cannot be added")
        return first


class Multiply(ElementwiseJoin):
    """The product of two branches: of equal shape, or an image and a gate for each channel (Hu et al. 2018)."""

    kind = "multiply"

    def output_shape(self, input_shape: Shapes) -> Shape:
        """The shape of the image, or of both inputs."""
        first, second = sorted(input_shape, key=len, reverse=True)
        if first != second and (len(second) != 1 or first[-1] != second[0]):
            raise ValueError(f"its branches end in {input_shape[0]} and {input_shape[1]}: they cannot be multiplied")
        return first


class Concat(Join):
    """The concatenation of branches along their channels (Huang et al. 2017)."""

    def output_shape(self, input_shape: Shapes) -> Shape:
        """The pixels of every input, and the sum of their channels."""
        pixels = {shape[:-1] for shape in input_shape}
        if len(pixels) != 1:
            ends = " and ".join(map(str, input_shape))
            raise ValueError(f"its branches end in {ends}: their pixels differ")
        return (*pixels.pop(), sum(shape[-1] for shape in input_shape))

    def forward(self, params: Tensors, x: Sequence[Array], ctx: Pass) -> tuple[Array, list[int]]:
        """Concatenate the inputs."""
        return ctx.ops.concat(x), [part.shape[-1] for part in x]

    def backward(self, params: Tensors, saved: list[int], dy: Array, grads: Tensors, ctx: Pass) -> Sequence[Array]:
        """Split the gradient."""
        return ctx.ops.split(dy, saved)
