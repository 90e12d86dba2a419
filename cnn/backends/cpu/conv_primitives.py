"""The passes over memory that convolutions are made of: padding, unrolling, products, Winograd's transforms.

x, padded and dy are images (n, h, w, c); tiles are counted image by image, row by row. What a function fills comes as
an argument, so that its memory can be used again.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cnn.backends.cpu import conv_kernels, product_kernels, winograd_kernels
from cnn.backends.cpu.conv_problem import Filter
from cnn.backends.cpu.product_kernels import FLIPPED, PACKED, PLAIN
from cnn.backends.cpu.vectors import host_tile
from cnn.backends.cpu.winograd import TAPS, transforms
from cnn.backends.window import Window

FloatArray = NDArray[Any]
ALL = slice(None)
_ORIGIN = np.zeros(1, np.int64)


def pad(x: FloatArray, top: int, left: int, padded: FloatArray) -> None:
    """Fill padded (n, H, W, c) with x from row `top`, column `left` on, and zeros around.

    A negative `top` leaves out rows; rows and columns beyond H and W are left out, too.
    """
    conv_kernels.pad(_rows(x), top, left * x.shape[3], _rows(padded))


def unroll(padded: FloatArray, window: Window, columns: FloatArray) -> None:
    """Im2col: padded (n, H, W, c) to columns (n * p * q, taps * c)."""
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
        columns,
    )


def finish(y: FloatArray, b: FloatArray | None, relu: bool, columns: slice = ALL) -> None:
    """In place: y (..., k)[..., columns] plus bias (k,), then max(y, 0)."""
    if b is not None or relu:
        rows = y.reshape(-1, y.shape[-1])
        begin, end, _ = columns.indices(y.shape[-1])
        conv_kernels.finish(rows, rows[0] if b is None else b, b is not None, relu, begin, end)


def bias_gradient(rows: FloatArray) -> FloatArray:
    """The sum of rows (m, k) over m: (k,)."""
    total = np.empty(rows.shape[1], rows.dtype)
    conv_kernels.column_sums(rows, total)
    return total


# --- products -------------------------------------------------------------------------------------------------------


class Rows(NamedTuple):
    """A left matrix whose rows are read where they lie: see `product_kernels.rows_times`.

    Row (n, i, j) of `grid` is `length` neighbouring numbers of flat `values` from n, i, j times `strides` on, moved by
    each of `shifts`.
    """

    values: FloatArray
    grid: tuple[int, int, int]
    strides: tuple[int, int, int]
    shifts: NDArray[np.int64]
    length: int

    @property
    def terms(self) -> int:
        """The columns of the matrix."""
        return len(self.shifts) * self.length


def matrix_rows(a: FloatArray) -> Rows:
    """The rows of a matrix (m, k)."""
    return Rows(a.reshape(-1), (1, 1, a.shape[0]), (0, 0, a.shape[1]), _ORIGIN, a.shape[1])


def window_rows(padded: FloatArray, window: Window, grid: tuple[int, int, int], groups: int) -> Rows:
    """The windows over padded (n, H, W, c) whose outputs are `grid` (images, rows, columns), of the first group.

    Numbers that are neighbours in the image are so in a window, so without dilation and groups a window's row is one
    run.
    """
    _, height, width, channels = padded.shape
    down, right = window.stride
    strides = (height * width * channels, down * width * channels, right * channels)
    one_run = groups == 1 and window.dilation[1] == 1
    shifts = _window_shifts(window.kernel, window.dilation, width * channels, channels, one_run)
    return Rows(padded.reshape(-1), grid, strides, shifts, channels // groups * (window.kernel[1] if one_run else 1))


@lru_cache(maxsize=256)
def _window_shifts(
    kernel: tuple[int, int], dilation: tuple[int, int], row: int, pixel: int, one_run: bool
) -> NDArray[np.int64]:
    down = np.arange(kernel[0]) * dilation[0] * row
    if one_run:
        return down
    return (down[:, None] + np.arange(kernel[1]) * dilation[1] * pixel).reshape(-1)


class Weights(NamedTuple):
    """A right matrix for each of `groups`, `columns` wide: `values` in a layout of `product_kernels.rows_times`."""

    values: FloatArray
    layout: tuple[int, int, int, int, int, int]
    columns: int
    terms: int
    groups: int = 1


def filter_weights(given: Filter) -> Weights:
    """The filter as a matrix a group, whose terms are taps by inputs of a group."""
    kh, kw, depth, filters = given.w.shape
    width, taps = filters // given.groups, kh * kw
    if given.flipped:
        return Weights(
            given.w.reshape(-1), (FLIPPED, width, filters, taps, depth, width), depth, taps * width, given.groups
        )
    return Weights(given.w.reshape(-1), (PLAIN, width, filters, 0, 0, 0), width, taps * depth, given.groups)


def matrix_weights(w: FloatArray, transposed: bool = False) -> Weights:
    """A matrix (k, n), or the transpose of one."""
    return filter_weights(Filter(w.reshape(1, 1, *w.shape), 1, transposed))


def packed_weights(weights: Weights) -> Weights:
    """The same, in the order in which products read them: for weights that are used again."""
    tile, values = host_tile(), weights.values
    width = tile.columns(values.itemsize)
    size = -(-weights.columns // width) * width * weights.terms
    packed = np.empty(weights.groups * size, values.dtype)
    product_kernels.pack(tile.shape, weights.groups, values, weights.layout, weights.columns, weights.terms, packed)
    return weights._replace(values=packed, layout=(PACKED, size, 0, 0, 0, 0))


def products(left: Rows, weights: Weights, out: FloatArray, columns: slice = ALL) -> None:
    """out (rows, count * columns) = left @ each of the weights, side by side; or just `columns` of each.

    `columns` begin at multiples of `block_columns`. Where there are several groups, the left matrix of the next begins
    `length` numbers after the last one's.
    """
    blocks = _blocks(columns, weights.columns, left.values.itemsize)
    product_kernels.rows_times(
        *(host_tile().shape, weights.groups, left.values, left.length, left.grid, left.strides, left.shifts),
        *(left.length, weights.values, weights.layout, out.reshape(-1), weights.columns, out.shape[-1]),
        *(blocks, weights.columns),
    )


def transposed_products(
    left: Rows, dy: FloatArray, out: FloatArray, *, more: bool, groups: int = 1, columns: slice = ALL
) -> None:
    """out (terms, groups * columns) = left^T @ dy (rows, groups * columns) group by group; added to, with `more`."""
    width = dy.shape[-1] // groups
    product_kernels.columns_times(
        *(host_tile().shape, groups, left.values, left.length, left.grid, left.strides, left.shifts, left.length),
        *(dy.reshape(-1), width, dy.shape[-1], out.reshape(-1), width, dy.shape[-1]),
        *(_blocks(columns, width, dy.itemsize), width, more),
    )


def block_columns(itemsize: int) -> int:
    """Where the columns of a product are shared among threads, they are cut at multiples of this."""
    return host_tile().columns(itemsize)


def _blocks(columns: slice, count: int, itemsize: int) -> tuple[int, int]:
    begin, end, _ = columns.indices(count)
    width = block_columns(itemsize)
    return begin // width, -(-end // width)


# --- Winograd: a transformed tile's element comes first -------------------------------------------------------------


def winograd_shape(given: Filter, m: int, columns: int) -> tuple[int, int, int, int]:
    """(t * t, blocks, c, numbers of a block's line): of so many columns of the transformed filter, packed."""
    width = block_columns(given.w.itemsize)
    return (m + TAPS - 1) ** 2, -(-columns // width), given.terms, width


def winograd_filter(given: Filter, m: int, packed: FloatArray, columns: slice, first: int = 0) -> None:
    """G w G^T of the filter, its `columns`: into packed (`winograd_shape`), whose first column is `first`."""
    _, _, depth, filters = given.w.shape
    blocks, width = _blocks(columns, given.columns, packed.itemsize), packed.shape[3]
    flat = packed.reshape(-1)[(blocks[0] - first // width) * packed[0, 0].size :]
    winograd_kernels.filters(
        *(host_tile().shape, given.w.reshape(-1), depth, filters, given.flipped, _matrix(m, "g", packed.dtype)),
        *(given.columns, given.terms, blocks, flat, packed[0].size),
    )


def winograd_products(v: FloatArray, packed: FloatArray, out: FloatArray, first: int = 0) -> None:
    """out (t * t, tiles, columns) = v (t * t, tiles, c) @ the matrices in `packed`, from their column `first` on."""
    elements, tiles, depth = v.shape
    columns, flat = out.shape[2], packed.reshape(-1)[first // packed.shape[3] * packed[0, 0].size :]
    product_kernels.rows_times(
        *(host_tile().shape, elements, v.reshape(-1), tiles * depth, (1, 1, tiles), (0, 0, depth), _ORIGIN, depth),
        *(flat, (PACKED, packed[0].size, 0, 0, 0, 0), out.reshape(-1), tiles * columns, columns),
        *(_blocks(ALL, columns, v.itemsize), columns),
    )


def winograd_gathered(v: FloatArray, d: FloatArray, total: FloatArray, first: int = 0, *, more: bool = False) -> None:
    """total (e, c, columns) = v^T (e, tiles, c) @ d (e, tiles, k) for each element, from d's column `first` on.

    It is added to what is there, with `more`.
    """
    elements, tiles, depth = v.shape
    filters, columns = d.shape[2], total.shape[2]
    product_kernels.columns_times(
        *(host_tile().shape, elements, v.reshape(-1), tiles * depth, (1, 1, tiles), (0, 0, depth), _ORIGIN, depth),
        *(d.reshape(-1)[first:], tiles * filters, filters, total.reshape(-1), depth * columns, columns),
        *(_blocks(ALL, columns, v.itemsize), columns, more),
    )


def winograd_filter_gradient(total: FloatArray, m: int, dw: FloatArray, first: int, rows: slice = ALL) -> None:
    """G^T total G: `rows` of total (t * t, c, columns) to dw (3, 3, c, k), from its column `first` on."""
    begin, end, _ = rows.indices(total.shape[1])
    taps = dw.reshape(-1, *dw.shape[2:])
    winograd_kernels.filter_gradient(total, _matrix(m, "g", dw.dtype), taps, first, begin, end)


def winograd_input(padded: FloatArray, m: int, v: FloatArray, start: int) -> None:
    """B^T x B of every tile of t x t pixels, m apart: padded to v (t * t, tiles, c), from tile `start` on."""
    winograd_kernels.INPUT[m](padded, _matrix(m, "bt", padded.dtype), v, start)


def winograd_output(
    products: FloatArray, m: int, b: FloatArray | None, relu: bool, y: FloatArray, start: int, first: int = 0
) -> bool:
    """A^T products A of every tile, with bias and ReLU: products (t * t, tiles, columns) to y (n, p, q, k).

    The first tile is `start`, the first column of y is `first`. Tiles that reach beyond y are cut off. Returns whether
    all of it is finite.
    """
    bias = np.zeros(y.shape[3], y.dtype) if b is None else b
    given = (products, _matrix(m, "at", y.dtype), bias, relu, y, start, first, first + products.shape[2])
    finite: bool = winograd_kernels.OUTPUT[m](*given)
    return finite


def winograd_gradient(dy: FloatArray, m: int, d: FloatArray, start: int) -> None:
    """A dy A^T of every tile of m x m pixels, zeros beyond the image: dy (n, p, q, k) to d (t * t, tiles, k)."""
    winograd_kernels.GRADIENT[m](dy, _matrix(m, "a", dy.dtype), d, start)


@cache
def _matrix(m: int, name: str, dtype: np.dtype[Any]) -> Any:
    t = transforms(m)
    return np.ascontiguousarray({"bt": t.b.T, "at": t.a.T, "a": t.a, "g": t.g}[name], dtype)


def _rows(x: FloatArray) -> FloatArray:
    """x (n, h, w, c) as (n, h, w * c)."""
    return x.reshape(*x.shape[:2], -1)
