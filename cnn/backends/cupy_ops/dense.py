"""Matrix products of dense layers."""

from __future__ import annotations

from collections.abc import Callable

from cnn.backends.cupy_ops.base import CupyBase
from cnn.backends.ops import Array


class CupyDense(CupyBase):
    """Kernels in `cnn/kernels/dense.cu`; with `cublas` the products are CuPy's `matmul`."""

    def dense(self, x: Array, w: Array, b: Array | None, relu: bool = False) -> Array:
        (rows, k), columns = x.shape, w.shape[1]
        if self.cublas:
            return self.add_parts(self.xp.matmul(x, w), (rows, columns), 1, b, relu)
        return self.product(
            "dense_forward",
            (rows, k, columns),
            1,
            k % 4 == 0 and columns % 4 == 0 and self.aligned(x, w),
            (rows, columns),
            lambda name, y, splits, bias, fused: self.launch(name, x, w, bias, y, rows, k, columns, splits, fused),
            b,
            relu,
        )

    def dense_backward_input(self, dy: Array, w: Array) -> Array:
        (rows, k), columns = dy.shape, w.shape[0]
        if self.cublas:
            return self.xp.matmul(dy, w.T)
        return self.product(
            "dense_backward_input",
            (rows, k, columns),
            1,
            k % 4 == 0 and columns % 4 == 0 and self.aligned(dy, w),
            (rows, columns),
            lambda name, dx, splits, *_: self.launch(name, dy, w, dx, rows, k, columns, splits),
        )

    def dense_backward_filter(self, dy: Array, x: Array) -> Array:
        (k, columns), rows = dy.shape, x.shape[1]
        if self.cublas:
            return self.xp.matmul(x.T, dy)
        return self.product(
            "dense_backward_filter",
            (rows, k, columns),
            1,
            rows % 4 == 0 and columns % 4 == 0 and self.aligned(x, dy),
            (rows, columns),
            lambda name, dw, splits, *_: self.launch(name, x, dy, dw, rows, k, columns, splits),
        )

    def product(
        self,
        function: str,
        size: tuple[int, int, int],
        batches: int,
        vector: bool,
        shape: tuple[int, ...],
        run: Callable[[str, Array, int, Array | None, int], None],
        bias: Array | None = None,
        relu: bool = False,
    ) -> Array:
        """A product of `size` = rows, k, columns, `batches` times, as an array of `shape`.

        `run` launches the kernel it is given by name, into an array, with a number of splits, a bias and whether
        ReLU follows. A split product's parts are added up afterwards, and bias and ReLU come then.
        """
        rows, k, columns = size
        variant, splits = self.plan(rows, columns, k, batches, vector)
        name = f"{function}_{variant.suffix}"
        if splits == 1:
            y = self.empty(shape)
            run(name, y, 1, bias, int(relu))
            return y
        parts = self.empty((splits, *shape))
        run(name, parts, splits, None, 0)
        return self.add_parts(parts, shape, splits, bias, relu)

    def add_parts(
        self, parts: Array, shape: tuple[int, ...], splits: int, bias: Array | None = None, relu: bool = False
    ) -> Array:
        """The sum of parts (splits, *shape) in order, plus bias by the last axis, then ReLU if asked for."""
        y = self.empty(shape)
        self.launch("sum_splits", parts, bias, y, y.size, splits, shape[-1], int(relu))
        return y
