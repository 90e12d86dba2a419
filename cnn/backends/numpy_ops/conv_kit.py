"""The passes over memory that convolutions are made of, in plain NumPy. A compiled kit does each in one walk.

x, padded and dy are images (n, h, w, c), tiles are counted image by image, row by row. What a method fills comes as
an argument, so that its memory can be used again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from cnn.backends.numpy_ops.memory import Pool
from cnn.backends.numpy_ops.winograd import kron
from cnn.backends.window import Window

FloatArray = NDArray[Any]
ALL = slice(None)
# Where the columns of a product are shared out, they are cut at multiples of this: so a form may hold them in groups.
FILTERS = 16


class ConvKit:
    """Padding, unrolling, Winograd's transforms, and what ends a convolution."""

    def pad(self, x: FloatArray, top: int, left: int, padded: FloatArray) -> None:
        """Fill padded (n, H, W, c) with x from row `top`, column `left` on, and zeros around.

        A negative `top` leaves out rows; rows and columns beyond H and W are left out, too.
        """
        first, height, width = max(top, 0), *padded.shape[1:3]
        source = x[:, max(-top, 0) :][:, : height - first, : width - left]
        padded[:, :first] = 0
        padded[:, first + source.shape[1] :] = 0
        padded[:, first : first + source.shape[1], :left] = 0
        padded[:, first : first + source.shape[1], left + source.shape[2] :] = 0
        padded[:, first : first + source.shape[1], left : left + source.shape[2]] = source

    def unroll(self, padded: FloatArray, window: Window, groups: int, columns: FloatArray) -> None:
        """Im2col: padded (n, H, W, c) to columns (groups, n * p * q, taps * c / groups)."""
        n, channels = len(padded), padded.shape[3]
        q, depth = window.output_hw[1], channels // groups
        p = columns.shape[1] // (n * q)
        s_n, s_h, s_w, s_c = padded.strides
        windows = as_strided(
            padded,
            (n, p, q, *window.kernel, groups, depth),
            (
                s_n,
                s_h * window.stride[0],
                s_w * window.stride[1],
                s_h * window.dilation[0],
                s_w * window.dilation[1],
                s_c * depth,
                s_c,
            ),
            writeable=False,
        )
        columns.reshape(groups, n, p, q, *window.kernel, depth)[...] = windows.transpose(5, 0, 1, 2, 3, 4, 6)

    def form(self, matrices: FloatArray, pool: Pool) -> FloatArray:
        """Filters as matrices (e, k, n), in the layout that `products` reads: (e, ...), e's elements in one order."""
        return matrices

    def products(self, a: FloatArray, form: FloatArray, out: FloatArray, filters: slice = ALL) -> None:
        """out (e, m, n)[..., filters] = a (e, m, k) @ the matrices in `form`."""
        np.matmul(a, form[..., filters], out=out[..., filters])

    def finish(self, y: FloatArray, b: FloatArray | None, relu: bool) -> None:
        """In place: y (n, p, q, k) plus bias (k,), then max(y, 0)."""
        if b is not None:
            y += b
        if relu:
            np.maximum(y, 0, out=y)

    # --- Winograd: a transformed tile's element comes first ---------------------------------------------------------

    def winograd_input(self, padded: FloatArray, m: int, v: FloatArray, start: int) -> None:
        """B^T x B of every tile of t x t pixels, m apart: padded to v (t * t, tiles, c), from tile `start` on."""
        tile = m + 2
        elements = _tiles(padded, tile, m).reshape(tile * tile, -1)
        transformed = kron(m, "input", padded.dtype.name) @ elements
        transformed = transformed.reshape(len(v), -1, v.shape[2])
        v[:, start : start + transformed.shape[1]] = transformed

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
        """A^T products A of every tile, with bias and ReLU: products (t * t, tiles, k) to y (n, p, q, k)[..., filters].

        The first tile is `start`. Tiles that reach beyond y are cut off.
        """
        y, b = y[..., filters], None if b is None else b[filters]
        n, p, q, k = y.shape
        across, along = -(-p // m), -(-q // m)
        own = products[:, start : start + n * across * along, filters]
        flat = kron(m, "output", y.dtype.name) @ own.reshape(len(own), -1)
        whole = flat.reshape(m, m, n, across, along, k).transpose(2, 3, 0, 4, 1, 5)
        y[...] = whole.reshape(n, across * m, along * m, k)[:, :p, :q]
        self.finish(y, b, relu)

    def winograd_gradient(self, dy: FloatArray, m: int, d: FloatArray, start: int) -> None:
        """A dy A^T of every tile of m x m pixels, zeros beyond the image: dy (n, p, q, k) to d (t * t, tiles, k)."""
        n, p, q, k = dy.shape
        whole = np.zeros((n, -(-p // m) * m, -(-q // m) * m, k), dy.dtype)
        whole[:, :p, :q] = dy
        elements = _tiles(whole, m, m).reshape(m * m, -1)
        transformed = (kron(m, "gradient", dy.dtype.name) @ elements).reshape(len(d), -1, k)
        d[:, start : start + transformed.shape[1]] = transformed


def _tiles(images: FloatArray, size: int, step: int) -> FloatArray:
    """Tiles of size x size pixels, `step` apart, as (size, size, n, tiles down, tiles across, c)."""
    n, height, width, channels = images.shape
    s_n, s_h, s_w, s_c = images.strides
    shape = (size, size, n, (height - size) // step + 1, (width - size) // step + 1, channels)
    return as_strided(images, shape, (s_h, s_w, s_n, s_h * step, s_w * step, s_c), writeable=False)
