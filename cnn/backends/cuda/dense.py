"""Matrix products of dense layers, and the epilogue of a product: bias, activation, statistics."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnn.backends.blocks import Array, Epilogue
from cnn.backends.cuda.arrays import BFLOAT16, rows_and_channels
from cnn.backends.cuda.normalization import column_sums
from cnn.backends.cuda.tensor_products import CudaTensorProducts
from cnn.backends.window import Window
from cnn.kernels.tile_choice import Product

NOTHING = Epilogue()


# A dense layer as a convolution.
_ONE_PIXEL = Window.over((1, 1), 1)


class CudaDense(CudaTensorProducts):
    """Kernels in `cnn/kernels/dense.cu`; with `cublas` the float32 products are CuPy's `matmul`.

    A ReLU is applied in the pass that writes the result, and any other activation in one of its own. Where an operand
    is bfloat16 the other is rounded to it, and so is the result; sums and gradients of parameters are float32. Products
    that tensor cores cannot compute are then computed in float32, from the rounded operands.
    """

    def dense(self, x: Array, w: Array, b: Array | None, epilogue: Epilogue = NOTHING) -> Array:
        relu = ends_in_relu(epilogue)
        w = self.stored_like(x, w)
        if self.by_tensor_cores(x, _ONE_PIXEL, w.shape[0], w.shape[1], 1):
            y, with_moments = self.tensor_forward(
                _pixels(x), _tap(w), b, _ONE_PIXEL, relu, moments_of_product(epilogue)
            )
            y = y.reshape(len(x), -1)
            return y if with_moments else self.finish(y, epilogue)
        return self.finish(self.stored_like(x, self._dense(*self.widened(x, w), b, relu)), epilogue)

    def _dense(self, x: Array, w: Array, b: Array | None, relu: bool) -> Array:
        (rows, k), columns = x.shape, w.shape[1]
        if self.cublas:
            y = self.floats(rows, columns)
            self.launch("add_bias", self.xp.matmul(x, w), b, y, y.size, columns, int(relu))
            return y
        return self.product(
            "dense_forward",
            (rows, k, columns),
            1,
            k % 4 == 0 and columns % 4 == 0 and self.aligned(x, w),
            self.floats(rows, columns),
            lambda name, y, bias, parts, splits, fused: self.launch(
                name, x, w, bias, y, *parts, rows, k, columns, splits, fused
            ),
            b,
            relu,
        )

    def dense_backward_input(self, dy: Array, w: Array) -> Array:
        w = self.stored_like(dy, w)
        if self.by_tensor_cores(dy, _ONE_PIXEL, w.shape[0], w.shape[1], 1):
            return self.tensor_backward_input(_pixels(dy), _tap(w), _ONE_PIXEL)[0].reshape(len(dy), -1)
        return self.stored_like(dy, self._dense_backward_input(*self.widened(dy, w)))

    def _dense_backward_input(self, dy: Array, w: Array) -> Array:
        (rows, k), columns = dy.shape, w.shape[0]
        if self.cublas:
            return self.xp.matmul(dy, w.T)
        return self.product(
            "dense_backward_input",
            (rows, k, columns),
            1,
            k % 4 == 0 and columns % 4 == 0 and self.aligned(dy, w),
            self.floats(rows, columns),
            lambda name, dx, _, parts, splits, __: self.launch(name, dy, w, dx, *parts, rows, k, columns, splits),
        )

    def dense_backward_filter(self, dy: Array, x: Array, out: Array | None = None) -> Array:
        (k, columns), rows = dy.shape, x.shape[1]
        dw = self.floats(rows, columns) if out is None else out
        dy, x = self.alike(dy, x)
        if self.by_tensor_cores(x, _ONE_PIXEL, rows, columns, 1):
            self.tensor_backward_filter(_pixels(dy), _pixels(x), _ONE_PIXEL, _tap(dw))
            return dw
        dy, x = self.widened(dy, x)
        if self.cublas:
            return self.xp.matmul(x.T, dy, out=dw)
        return self.product(
            "dense_backward_filter",
            (rows, k, columns),
            1,
            rows % 4 == 0 and columns % 4 == 0 and self.aligned(x, dy, dw),
            dw,
            lambda name, dw, _, parts, splits, __: self.launch(name, x, dy, dw, *parts, rows, k, columns, splits),
        )

    def stored_like(self, x: Array, y: Array) -> Array:
        """y, rounded to bfloat16 if x is kept in it."""
        return self.stored(y, "bfloat16") if x.dtype == BFLOAT16 else y

    def alike(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Both in bfloat16 if one of them is."""
        return self.stored_like(b, a), self.stored_like(a, b)

    def widened(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Both in float32."""
        return (a, b) if a.dtype == np.float32 else (self.stored(a, "float32"), self.stored(b, "float32"))

    def bias_backward(self, dy: Array, out: Array | None = None) -> Array:
        return column_sums(self, dy, *rows_and_channels(dy), out)

    def finish(self, y: Array, epilogue: Epilogue) -> Array:
        """The rest of the epilogue, after a product that has added its bias and applied its ReLU."""
        if epilogue.activation is not None and not ends_in_relu(epilogue):
            y = self.activation(y, epilogue.activation)
        if epilogue.moments is not None:
            self.moments(y, epilogue.moments)
        return y

    def product(
        self,
        function: str,
        size: tuple[int, int, int],
        batches: int,
        vector: bool,
        y: Array,
        run: Callable[[str, Array, Array | None, tuple[Array | None, Array | None], int, int], None],
        bias: Array | None = None,
        relu: bool = False,
    ) -> Array:
        """`batches` products of `size` = rows, k, columns, written to y, which is returned.

        `run` launches a kernel, given its name, the output array, the bias, the arrays in which the parts of a split
        product are added up, the number of splits, and whether a ReLU follows.
        """
        rows, k, columns = size
        variant, splits = self.plan(rows, columns, k, batches, vector, self.limits)
        parts = self.split_parts(Product(rows, columns, k, batches), variant.tile, splits)
        run(f"{function}_{variant.suffix}", y, bias, parts, splits, int(relu))
        return y


def moments_of_product(epilogue: Epilogue) -> Array | None:
    """The statistics that the pass which writes the product can fill: those behind no other activation than ReLU."""
    return epilogue.moments if epilogue.activation is None or ends_in_relu(epilogue) else None


def ends_in_relu(epilogue: Epilogue) -> bool:
    """Whether the product can apply the epilogue's activation."""
    return epilogue.activation is not None and epilogue.activation.name == "relu"


def _pixels(x: Array) -> Array:
    """x (n, c) as n images of one pixel."""
    return x.reshape(x.shape[0], 1, 1, x.shape[1])


def _tap(w: Array) -> Array:
    """w (c, k) as filters of one tap."""
    return w.reshape(1, 1, *w.shape)
