"""Products by tensor cores: geometry, tiles and launches."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.backends.blocks import Array
from cnn.backends.cuda.activations import CudaActivations
from cnn.backends.cuda.arrays import BFLOAT16
from cnn.backends.reference.arrays import TENSOR_CORES
from cnn.backends.window import Window
from cnn.kernels import STRUCTS, fast_divmod
from cnn.kernels.families.tensor_plan import BACKWARD_FILTER, BACKWARD_INPUT, FORWARD, TensorProduct
from cnn.kernels.families.tensor_rules import MOST_TAPS, TensorTile, chunk, gather_step
from cnn.kernels.tile_choice import Device, Product, Tile, ceil_div

# The kernels count bytes of the images in 32 bits.
_MOST_FLOATS = 2**30


class CudaTensorProducts(CudaActivations):
    """Kernels in `cnn/kernels/convolution_tensor.cu`: operands in bfloat16 or tf32, sums in float32.

    A dense layer is a convolution of one tap over images of one pixel.
    """

    @functools.cached_property
    def limits(self) -> Device:
        """What of the device decides on tiles."""
        device = self.xp.cuda.Device()
        attributes = device.attributes
        return Device(
            attributes["MultiProcessorCount"],
            int(device.compute_capability),
            attributes["MaxSharedMemoryPerBlockOptin"],
        )

    def by_tensor_cores(self, x: Array, window: Window, channels: int, filters: int, groups: int) -> bool:
        """Whether the kernels are to compute the products of this geometry, of arrays like x, on this device."""
        if x.dtype != BFLOAT16 and not (self.tf32 and x.dtype == np.float32 and x.size < _MOST_FLOATS):
            return False
        size, both = chunk(_element(x)), any(min(pair) > 1 for pair in zip(window.stride, window.dilation, strict=True))
        return (
            groups == 1
            and channels % size == 0
            and filters % size == 0
            and max(window.kernel) <= MOST_TAPS
            and not both  # the taps of a parity class would be irregular
            and self.limits.capability >= TENSOR_CORES
        )

    def tensor_forward(
        self, x: Array, w: Array, b: Array | None, window: Window, relu: bool, moments: Array | None = None
    ) -> tuple[Array, bool]:
        """x (n, h, w, c) and w (kh, kw, c, k), of one type, to y (n, p, q, k); and whether `moments` was filled.

        `moments` (2, k), if given, gets the mean and the biased variance of y per channel, if that is bfloat16.
        """
        n, c, k, element = x.shape[0], x.shape[3], w.shape[3], _element(x)
        rows = n * window.output_hw[0] * window.output_hw[1]
        product = TensorProduct(FORWARD, element, rows, k, c, window.taps)
        tile, splits = self.tensor_plan(product, self.limits)
        y = self.empty((n, *window.output_hw, k), x.dtype)
        shape = _with_splits(_forward_shape(window, n, c, k), window.taps, c, splits, element)
        parts, counters = self.split_parts(product.product, tile, splits)
        tile_moments, filled = None, moments is not None and x.dtype == BFLOAT16 and rows > 0
        if filled:
            tile_moments = self.floats(ceil_div(rows, tile.m), 2, k)
            counters = self.counters(product.product.blocks(tile, splits + 1))
        x, w = self._at_chunks(x), self._at_chunks(w)
        arrays = x, w, b, y, parts, moments if filled else None, tile_moments, counters
        self.launch(f"tensor_forward_{tile.suffix}", *arrays, shape, splits, int(relu))
        return y, filled

    def split_parts(self, product: Product, tile: Tile, splits: int) -> tuple[Array | None, Array | None]:
        """The parts and the counters of a product whose sum is cut: every block has a tile of parts and a counter."""
        blocks = product.blocks(tile, splits)
        return (None, None) if splits == 1 else (self.floats(blocks, tile.m, tile.n), self.counters(blocks))

    def tensor_backward_input(
        self, dy: Array, w: Array, window: Window, added: Array | None = None
    ) -> tuple[Array, bool]:
        """dy (n, p, q, k) and w (kh, kw, c, k), of one type, to dx (n, h, w, c); and whether `added` was added to it.

        `added`, if given, is an array like dx. To bfloat16 it is added after rounding.
        """
        n, k, c, element = dy.shape[0], dy.shape[3], w.shape[2], _element(dy)
        dx = self.empty((n, *window.input_hw, c), dy.dtype)
        dy, w = self._at_chunks(dy), self._at_chunks(w)
        one_class = window.stride == (1, 1)
        with_added = added is not None and dy.dtype == BFLOAT16
        summand = self._at_chunks(added) if with_added else None
        for shape, product, tile, splits in self._gradient_plans(dy, window, n, c, k, one_class):
            cut = _with_splits(shape, product.pieces, k, splits, element)
            parts = self.split_parts(product, tile, splits)
            self.launch(f"tensor_backward_input_{tile.suffix}", dy, w, dx, summand, *parts, cut, splits)
        return dx, with_added

    def _gradient_plans(
        self, dy: Array, window: Window, n: int, c: int, k: int, one_class: bool
    ) -> Iterator[tuple[NDArray[Any], Product, TensorTile, int]]:
        """For each parity class: its shape, its product, the tile, the number of parts."""
        for shape, rows, taps in _gradient_shapes(window, n, c, k):
            product = TensorProduct(BACKWARD_INPUT, _element(dy), rows, c, k, taps, one_class)
            yield shape, product.product, *self.tensor_plan(product, self.limits)

    def tensor_backward_filter(self, dy: Array, x: Array, window: Window, dw: Array) -> Array:
        """dy (n, p, q, k) and x (n, h, w, c), of one type, to dw (kh, kw, c, k), float32, which is returned."""
        (n, p, q, k), c = dy.shape, x.shape[3]
        product = TensorProduct(BACKWARD_FILTER, _element(x), n * p * q, k, c, window.taps)
        tile, splits = self.tensor_plan(product, self.limits)
        shape = _wgrad_shape(window, n, c, k, product.product.length(tile.k, splits))
        parts = self.split_parts(product.product, tile, splits)
        to = dw if dw.data.ptr % 8 == 0 else self.floats(*dw.shape)
        name = f"tensor_backward_filter_{tile.suffix}"
        self.launch(name, self._at_chunks(x), self._at_chunks(dy), to, *parts, shape, splits)
        if to is not dw:
            self.launch("add_bias", to, None, dw, dw.size, k, 0)
        return dw

    def _at_chunks(self, x: Array) -> Array:
        """x, or a copy of it where it does not lie at a multiple of 16 bytes."""
        return x if x.data.ptr % 16 == 0 else x.copy()


def _struct(name: str, fields: dict[str, Any]) -> NDArray[Any]:
    struct = STRUCTS[name]
    return np.array([tuple(fields[field] for field in struct.names or ())], struct)


def _element(x: Array) -> str:
    """What the kernels call the array's type."""
    return "bfloat16" if x.dtype == BFLOAT16 else "float"


@functools.lru_cache(maxsize=1024)
def _forward_shape(window: Window, n: int, c: int, k: int) -> NDArray[Any]:
    (p, q), (h, w), (kh, kw) = window.output_hw, window.input_hw, window.kernel
    top, _, left, _ = window.padding
    fields = {
        **{"rows": n * p * q, "p": fast_divmod(p), "q": fast_divmod(q), "h": h, "w": w, "c": c},
        **{"stride_h": window.stride[0], "stride_w": window.stride[1]},
        **{"dilation_h": window.dilation[0], "dilation_w": window.dilation[1], "top": -top, "left": -left},
        **{"kh": kh, "kw": kw, "n": k, "w_first": 0, "w_down": kw * c * k, "w_across": c * k},
        **{"out_h": p, "out_w": q, "step_h": 1, "step_w": 1, "first_h": 0, "first_w": 0, "steps_per_split": 0},
    }
    return _struct("GatherShape", fields)


def _with_splits(shape: NDArray[Any], taps: int, c: int, splits: int, element: str) -> NDArray[Any]:
    """The same with the steps of a split set. A class without taps has no steps."""
    cut = shape.copy()
    cut["steps_per_split"] = ceil_div(Product(0, 0, taps * c, pieces=taps).steps(gather_step(c, element)), splits)
    return cut


def _gradient_shapes(window: Window, n: int, c: int, k: int) -> Iterator[tuple[NDArray[Any], int, int]]:
    """For each parity class that has pixels: its shape, its pixels, its taps."""
    (h, w), (p, q), kw = window.input_hw, window.output_hw, window.kernel[1]
    top, _, left, _ = window.padding
    for a in range(window.stride[0]):
        rows = _parity_class(a, h, top, window.kernel[0], window.stride[0], window.dilation[0])
        for b in range(window.stride[1]):
            columns = _parity_class(b, w, left, kw, window.stride[1], window.dilation[1])
            (first_h, count_h, last_r, taps_h, begin_h), (first_w, count_w, last_s, taps_w, begin_w) = rows, columns
            if count_h <= 0 or count_w <= 0:
                continue
            fields = {
                **{"rows": n * count_h * count_w, "p": fast_divmod(count_h), "q": fast_divmod(count_w)},
                **{"h": p, "w": q, "c": k, "stride_h": 1, "stride_w": 1},
                **{"dilation_h": window.dilation[0], "dilation_w": window.dilation[1]},
                **{"top": begin_h, "left": begin_w, "kh": taps_h, "kw": taps_w, "n": c},
                **{"w_first": (last_r * kw + last_s) * c * k},
                **{"w_down": -window.stride[0] * kw * c * k, "w_across": -window.stride[1] * c * k},
                **{"out_h": h, "out_w": w, "step_h": window.stride[0], "step_w": window.stride[1]},
                **{"first_h": first_h, "first_w": first_w, "steps_per_split": 0},
            }
            yield _struct("GatherShape", fields), n * count_h * count_w, taps_h * taps_w


def _parity_class(
    remainder: int, size: int, pad: int, taps: int, stride: int, dilation: int
) -> tuple[int, int, int, int, int]:
    """Of the pixels i with (i + pad) % stride == remainder: first, number; of their taps: last, number; offset.

    Pixel i = remainder + stride * u - pad gets tap remainder + stride * t from row u - t * dilation of dy (strides and
    dilations do not meet: one of the two is 1). With the taps in reverse order, pixel number j reads rows that begin at
    j + offset, as in a forward product of stride 1.
    """
    first_u = -((remainder - pad) // stride)
    first = stride * first_u + remainder - pad
    count = max(-((remainder - taps) // stride), 0)
    last = remainder + stride * (count - 1)
    return first, -((first - size) // stride), last, count, first_u - (count - 1) * dilation


@functools.lru_cache(maxsize=1024)
def _wgrad_shape(window: Window, n: int, c: int, k: int, pixels_per_split: int) -> NDArray[Any]:
    (p, q), (h, w), (kh, kw) = window.output_hw, window.input_hw, window.kernel
    top, _, left, _ = window.padding
    fields = {
        **{"pixels": n * p * q, "pixels_per_split": pixels_per_split, "p": fast_divmod(p), "q": fast_divmod(q)},
        **{"h": h, "w": w, "c": c, "n": k, "stride_h": window.stride[0], "stride_w": window.stride[1]},
        **{"dilation_h": window.dilation[0], "dilation_w": window.dilation[1], "top": -top, "left": -left},
        **{"kh": kh, "kw": kw},
    }
    return _struct("WgradShape", fields)
