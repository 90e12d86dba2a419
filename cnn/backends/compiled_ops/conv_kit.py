"""The passes around a convolution's products, compiled."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from cnn.backends.compiled_ops import conv_kernels, product_kernels, winograd_kernels
from cnn.backends.numpy_ops.conv_kit import ALL, ConvKit, FloatArray
from cnn.backends.numpy_ops.memory import Pool
from cnn.backends.numpy_ops.winograd import transforms
from cnn.backends.window import Window


class CompiledConvKit(ConvKit):
    """One walk over memory for each pass; bias and ReLU end Winograd's output transform in the same walk."""

    def pad(self, x: FloatArray, top: int, left: int, padded: FloatArray) -> None:
        conv_kernels.pad(_rows(x), top, left * x.shape[3], _rows(padded))

    def unroll(self, padded: FloatArray, window: Window, groups: int, columns: FloatArray) -> None:
        if groups > 1:
            super().unroll(padded, window, groups, columns)
        else:
            channels, (down, right) = padded.shape[3], window.stride
            runs = 1 if window.dilation[1] == 1 else window.kernel[1]  # undilated, a window's row is a single run
            conv_kernels.unroll(
                _rows(padded),
                (down, right * channels),
                window.dilation[1] * channels,
                runs,
                window.kernel[0],
                window.dilation[0],
                window.output_hw[1],
                columns[0],
            )

    def form(self, matrices: FloatArray, pool: Pool) -> FloatArray:
        """(e, groups of columns, k, numbers in a group): see `product_kernels`."""
        e, depth, columns = matrices.shape
        width = product_kernels.WIDTH // matrices.itemsize
        blocks = pool.empty((e, -(-columns // width), depth, width), matrices.dtype)
        product_kernels.pack(matrices, blocks)
        return blocks

    def products(self, a: FloatArray, form: FloatArray, out: FloatArray, filters: slice = ALL) -> None:
        begin, end, _ = filters.indices(out.shape[2])
        width = form.shape[3]
        product_kernels.products(a, form, out, begin // width, -(-end // width))

    def finish(self, y: FloatArray, b: FloatArray | None, relu: bool) -> None:
        if b is not None or relu:
            rows = y.reshape(-1, y.shape[-1])
            conv_kernels.finish(rows, rows[0] if b is None else b, b is not None, relu)

    def winograd_input(self, padded: FloatArray, m: int, v: FloatArray, start: int) -> None:
        winograd_kernels.INPUT[m](padded, _matrix(m, "bt", padded.dtype.name), v, start)

    def winograd_output(
        self,
        products: FloatArray,
        m: int,
        b: FloatArray | None,
        relu: bool,
        y: FloatArray,
        start: int,
        filters: slice = ALL,
    ) -> None:
        bias = np.zeros(y.shape[3], y.dtype) if b is None else b
        begin, end, _ = filters.indices(y.shape[3])
        winograd_kernels.OUTPUT[m](products, _matrix(m, "at", y.dtype.name), bias, relu, y, start, begin, end)

    def winograd_gradient(self, dy: FloatArray, m: int, d: FloatArray, start: int) -> None:
        winograd_kernels.GRADIENT[m](dy, _matrix(m, "a", dy.dtype.name), d, start)


@cache
def _matrix(m: int, name: str, dtype: str) -> Any:
    t = transforms(m)
    return np.ascontiguousarray({"bt": t.b.T, "at": t.a.T, "a": t.a}[name], dtype)


def _rows(x: FloatArray) -> FloatArray:
    """x (n, h, w, c) as (n, h, w * c)."""
    return x.reshape(*x.shape[:2], -1)
