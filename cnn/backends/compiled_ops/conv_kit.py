"""The passes around a convolution's products, compiled."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from cnn.backends.compiled_ops import conv_kernels, winograd_kernels
from cnn.backends.numpy_ops.conv_kit import ConvKit, FloatArray
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
            conv_kernels.unroll(padded, window.stride, window.dilation, window.kernel, window.output_hw[1], columns[0])

    def finish(self, y: FloatArray, b: FloatArray | None, relu: bool) -> None:
        if b is not None or relu:
            rows = y.reshape(-1, y.shape[-1])
            conv_kernels.finish(rows, rows[0] if b is None else b, b is not None, relu)

    def winograd_input(self, padded: FloatArray, m: int, v: FloatArray, start: int) -> None:
        winograd_kernels.INPUT[m](padded, _matrix(m, "bt", padded.dtype.name), v, start)

    def winograd_output(
        self, products: FloatArray, m: int, b: FloatArray | None, relu: bool, y: FloatArray, start: int
    ) -> None:
        bias = np.zeros(y.shape[3], y.dtype) if b is None else b
        winograd_kernels.OUTPUT[m](products, _matrix(m, "at", y.dtype.name), bias, relu, y, start)

    def winograd_gradient(self, dy: FloatArray, m: int, d: FloatArray, start: int) -> None:
        winograd_kernels.GRADIENT[m](dy, _matrix(m, "a", dy.dtype.name), d, start)


@cache
def _matrix(m: int, name: str, dtype: str) -> Any:
    t = transforms(m)
    return np.ascontiguousarray({"bt": t.b.T, "at": t.a.T, "a": t.a}[name], dtype)


def _rows(x: FloatArray) -> FloatArray:
    """x (n, h, w, c) as (n, h, w * c)."""
    return x.reshape(*x.shape[:2], -1)
