"""Ways to compute a convolution: unrolled windows (im2col), shifted products, Winograd's two tile sizes, tap by tap.

Each computes a piece of the batch at a time, so that its scratch is still in the cache when the products read it, and
so that the memory taken does not grow with the batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from cnn.backends.numpy_ops.conv_kit import FILTERS, ConvKit, FloatArray
from cnn.backends.numpy_ops.conv_problem import ConvProblem, Piece, cut
from cnn.backends.numpy_ops.memory import Pool
from cnn.backends.numpy_ops.winograd import TAPS, kron
from cnn.backends.window import Window
from cnn.backends.workers import Workers, pieces

# Partial sums of a filter gradient: fixed, so that the order of summation does not depend on the threads.
_PARTIAL_SUMS = 8
# A whole batch's scratch of so many bytes is a small batch: all of it is made, then its products are shared out by the
# filter, not by the image. So a product keeps what rows it has, and a filter goes through the cache once.
_SMALL_BATCH_BYTES = 4 << 20
_FEW_ROWS = 1024  # of unrolled windows; more are shared out by row
# Tiles transformed before their products are added to a filter's gradient, in bytes: few enough for a shared cache.
_GRADIENT_BYTES = 12 << 20


class Algorithm(ABC):
    """One way to compute a convolution and its filter's gradient."""

    name: str

    def __init__(self, kit: ConvKit, pool: Pool, workers: Workers) -> None:
        self.kit, self.pool, self.workers = kit, pool, workers

    @abstractmethod
    def supports(self, problem: ConvProblem) -> bool:
        """Whether the algorithm can compute this shape."""

    @abstractmethod
    def filter_form(self, w: FloatArray, groups: int) -> FloatArray:
        """The filter (kh, kw, c / groups, k) as `forward` wants it."""

    @abstractmethod
    def forward(
        self, x: FloatArray, form: FloatArray, b: FloatArray | None, relu: bool, problem: ConvProblem, y: FloatArray
    ) -> None:
        """Fill y (n, p, q, k) with the convolution of x, plus b, through a ReLU."""

    @abstractmethod
    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem) -> FloatArray:
        """dw (kh, kw, c / groups, k)."""

    def summed(
        self,
        add: Callable[[Piece, FloatArray], None],
        work: list[Piece],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> FloatArray:
        """The sum (shape) of what `add(piece, total)` adds for each piece, in partial sums that share the cores."""

        def run(some: slice) -> FloatArray:
            total = self.pool.zeros(shape, dtype)
            for piece in work[some]:
                add(piece, total)
            return total

        return np.add.reduce(self.workers.map(run, pieces(len(work), -(-len(work) // _PARTIAL_SUMS))))

    def padded(self, x: FloatArray, piece: Piece, window: Window, hw: tuple[int, int]) -> FloatArray:
        """The `hw` padded input pixels that the piece's first output row on sees, zeros beyond the image."""
        begin = piece.rows.start * window.stride[0]
        images = x[piece.images]
        if not window.has_padding and (begin, hw) == (0, x.shape[1:3]):
            return images
        scratch = self.pool.empty((len(images), *hw, x.shape[3]), x.dtype)
        self.kit.pad(images, window.padding[0] - begin, window.padding[2], scratch)
        return scratch


class Im2col(Algorithm):
    """A row of the unrolled input for each output pixel, times the filter as a matrix. Takes every geometry."""

    name = "im2col"

    def supports(self, problem: ConvProblem) -> bool:
        return True

    def filter_form(self, w: FloatArray, groups: int) -> FloatArray:
        matrices = self.matrices(w, groups)
        return self.kit.form(matrices, self.pool) if groups == 1 else matrices

    @staticmethod
    def matrices(w: FloatArray, groups: int) -> FloatArray:
        """One matrix a group: (groups, taps * c / groups, k / groups)."""
        rows = w.shape[0] * w.shape[1] * w.shape[2]
        return np.ascontiguousarray(w.reshape(rows, groups, -1).transpose(1, 0, 2))

    def pieces(self, problem: ConvProblem) -> list[Piece]:
        """Pieces of the batch by the bytes of their unrolled windows."""
        row = problem.window.output_hw[1] * problem.window.taps * problem.channels * problem.itemsize
        return cut(problem, row)

    def forward(
        self, x: FloatArray, form: FloatArray, b: FloatArray | None, relu: bool, problem: ConvProblem, y: FloatArray
    ) -> None:
        rows = len(y) * y.shape[1] * y.shape[2]
        scratch = rows * problem.window.taps * problem.channels * problem.itemsize
        if problem.groups == 1 and rows < _FEW_ROWS and scratch <= _SMALL_BATCH_BYTES:
            columns = self._columns(x, Piece(slice(0, len(x)), slice(0, y.shape[1])), problem)[0]
            flat = y.reshape(1, rows, -1)
            self.workers.map(
                lambda some: self.kit.products(columns[None], form, flat, some), filter_pieces(problem.filters)
            )
            self.kit.finish(y, b, relu)
            return

        def run(piece: Piece) -> None:
            out = y[piece.images, piece.rows]
            columns = self._columns(x, piece, problem)
            if problem.groups == 1:
                self.kit.products(columns, form, out.reshape(1, -1, problem.filters))
            else:
                np.matmul(columns, form, out=by_group(out, problem.groups))
            self.kit.finish(out, b, relu)

        self.workers.map(run, self.pieces(problem))

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem) -> FloatArray:
        window, groups = problem.window, problem.groups
        depth, width = problem.channels // groups, problem.filters // groups

        def add(piece: Piece, total: FloatArray) -> None:
            columns = self._columns(x, piece, problem)
            given = by_group(dy[piece.images, piece.rows], groups)
            add_products(columns.transpose(0, 2, 1), given, total, self.pool, begin=False)

        dw = self.summed(add, self.pieces(problem), (groups, window.taps * depth, width), x.dtype)
        dw = dw.reshape(groups, *window.kernel, depth, width)
        return np.ascontiguousarray(dw.transpose(1, 2, 3, 0, 4)).reshape(*window.kernel, depth, problem.filters)

    def _columns(self, x: FloatArray, piece: Piece, problem: ConvProblem) -> FloatArray:
        """The piece's unrolled windows (groups, n * p * q, taps * c / groups)."""
        window, groups = problem.window, problem.groups
        rows, q = piece.rows.stop - piece.rows.start, window.output_hw[1]
        reach = (window.kernel[0] - 1) * window.dilation[0] + 1
        images = piece.images.stop - piece.images.start
        padded = self.padded(x, piece, window, ((rows - 1) * window.stride[0] + reach, window.padded_hw[1]))
        if window.taps == 1 and problem.is_plain and padded.shape[1:3] == (rows, q):
            return padded.reshape(1, images * rows * q, problem.channels)
        shape = (groups, images * rows * q, window.taps * problem.channels // groups)
        columns = self.pool.empty(shape, x.dtype)
        self.kit.unroll(padded, window, groups, columns)
        return columns


class Shifted(Algorithm):
    """A product for each tap, of the padded image moved by it, added up: nothing is unrolled.

    The products run over whole rows of the padded image; the few pixels beside the output's are computed and dropped.
    """

    name = "shifted"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.window.stride == (1, 1) and problem.groups == 1

    def filter_form(self, w: FloatArray, groups: int) -> FloatArray:
        """A matrix a tap: (taps, c, k)."""
        return np.ascontiguousarray(w.reshape(-1, w.shape[2], w.shape[3]))

    def forward(
        self, x: FloatArray, form: FloatArray, b: FloatArray | None, relu: bool, problem: ConvProblem, y: FloatArray
    ) -> None:
        def run(piece: Piece) -> None:
            out = y[piece.images, piece.rows]
            padded, height, wide = self._rows(x, piece, problem)
            flat = padded.reshape(-1, problem.channels)
            sums = self.pool.empty((len(out) * height * wide, problem.filters), x.dtype)
            for tap, offset in enumerate(_offsets(problem.window, wide)):
                reached = len(flat) - offset
                add_products(flat[offset:], form[tap], sums[:reached], self.pool, begin=tap == 0)
            out[...] = sums.reshape(len(out), height, wide, -1)[:, : out.shape[1], : out.shape[2]]
            self.kit.finish(out, b, relu)

        self.workers.map(run, self._pieces(problem))

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem) -> FloatArray:
        def add(piece: Piece, total: FloatArray) -> None:
            padded, height, wide = self._rows(x, piece, problem)
            flat, given = padded.reshape(-1, problem.channels), dy[piece.images, piece.rows]
            spread = self.pool.empty((len(given), height, wide, problem.filters), x.dtype)
            self.kit.pad(given, 0, 0, spread)
            rows = spread.reshape(-1, problem.filters)
            for tap, offset in enumerate(_offsets(problem.window, wide)):
                add_products(flat[offset:].T, rows[: len(flat) - offset], total[tap], self.pool, begin=False)

        shape = (problem.window.taps, problem.channels, problem.filters)
        dw = self.summed(add, self._pieces(problem), shape, x.dtype)
        return dw.reshape(*problem.window.kernel, problem.channels, problem.filters)

    def _rows(self, x: FloatArray, piece: Piece, problem: ConvProblem) -> tuple[FloatArray, int, int]:
        """The padded rows that the piece sees, how many there are, and how wide they are."""
        window = problem.window
        height = piece.rows.stop - piece.rows.start + (window.kernel[0] - 1) * window.dilation[0]
        return self.padded(x, piece, window, (height, window.padded_hw[1])), height, window.padded_hw[1]

    def _pieces(self, problem: ConvProblem) -> list[Piece]:
        pixel = (problem.channels + problem.filters) * problem.itemsize
        return cut(problem, problem.window.padded_hw[1] * pixel)


class Winograd(Algorithm):
    """F(m x m, 3 x 3): see `winograd.py`."""

    def __init__(self, kit: ConvKit, pool: Pool, workers: Workers, m: int) -> None:
        super().__init__(kit, pool, workers)
        self.m, self.elements = m, (m + TAPS - 1) ** 2
        self.name = f"winograd{m}"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.is_plain and problem.window.kernel == (TAPS, TAPS)

    def filter_form(self, w: FloatArray, groups: int) -> FloatArray:
        """G w G^T: matrices (t * t, c, k) in the kit's layout, in which the nine taps are laid out first."""
        taps = self.kit.form(w.reshape(TAPS * TAPS, w.shape[2], w.shape[3]), self.pool)
        form = self.pool.empty((self.elements, *taps.shape[1:]), w.dtype)
        matrix, flat_taps, flat = (
            kron(self.m, "filter", w.dtype.name),
            taps.reshape(TAPS * TAPS, -1),
            form.reshape(self.elements, -1),
        )
        # Pieces of columns: one product would keep a single core busy.
        self.workers.map(
            lambda some: np.matmul(matrix, flat_taps[:, some], out=flat[:, some]), pieces(flat.shape[1], 1 << 14)
        )
        return form

    def forward(
        self, x: FloatArray, form: FloatArray, b: FloatArray | None, relu: bool, problem: ConvProblem, y: FloatArray
    ) -> None:
        tiles = self._tiles(Piece(slice(0, len(x)), slice(0, y.shape[1])), problem)
        if self.elements * tiles * (problem.channels + problem.filters) * problem.itemsize <= _SMALL_BATCH_BYTES:
            self._small_batch(x, form, b, relu, problem, y, tiles)
            return

        def run(piece: Piece) -> None:
            out = y[piece.images, piece.rows]
            v = self.pool.empty((self.elements, self._tiles(piece, problem), problem.channels), x.dtype)
            self._transform(x, piece, problem, v, 0)
            products = self.pool.empty((self.elements, v.shape[1], problem.filters), x.dtype)
            self.kit.products(v, form, products)
            self.kit.winograd_output(products, self.m, b, relu, out, 0)

        self.workers.map(run, self.pieces(problem))

    def _small_batch(
        self,
        x: FloatArray,
        form: FloatArray,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
        tiles: int,
    ) -> None:
        """As `forward`, each of the t * t products over all tiles: filter by filter from there on."""
        v = self.pool.empty((self.elements, tiles, problem.channels), x.dtype)
        products = self.pool.empty((self.elements, tiles, problem.filters), x.dtype)
        self._transform(x, Piece(slice(0, len(x)), slice(0, y.shape[1])), problem, v, 0)

        def run(filters: slice) -> None:
            self.kit.products(v, form, products, filters)
            self.kit.winograd_output(products, self.m, b, relu, y, 0, filters)

        self.workers.map(run, filter_pieces(problem.filters))

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem) -> FloatArray:
        """In turns: some tiles are transformed, then each of the t * t products gathers them, both on all cores.

        So the sums need no copy for each thread, and have one order for any number of threads.
        """
        total = self.pool.empty((self.elements, problem.channels, problem.filters), x.dtype)
        work = self.pieces(problem)
        tiles = [self._tiles(piece, problem) for piece in work]
        room = _GRADIENT_BYTES // (self.elements * (problem.channels + problem.filters) * problem.itemsize)
        begin = 0
        while begin < len(work):
            end, count = begin + 1, tiles[begin]
            while end < len(work) and count + tiles[end] <= room:
                count, end = count + tiles[end], end + 1
            v = self.pool.empty((self.elements, count, problem.channels), x.dtype)
            d = self.pool.empty((self.elements, count, problem.filters), x.dtype)
            starts = np.cumsum([0, *tiles[begin:end]])

            def transform(
                index: int, begin: int = begin, v: FloatArray = v, d: FloatArray = d, at: FloatArray = starts
            ) -> None:
                piece = work[begin + index]
                self._transform(x, piece, problem, v, int(at[index]))
                self.kit.winograd_gradient(dy[piece.images, piece.rows], self.m, d, int(at[index]))

            def gather(some: slice, first: bool = begin == 0, v: FloatArray = v, d: FloatArray = d) -> None:
                add_products(v[some].transpose(0, 2, 1), d[some], total[some], self.pool, begin=first)

            self.workers.map(transform, range(end - begin))
            self.workers.map(gather, pieces(self.elements, 2))
            begin = end
        dw = kron(self.m, "filter_gradient", x.dtype.name) @ total.reshape(self.elements, -1)
        return dw.reshape(TAPS, TAPS, problem.channels, problem.filters)

    def pieces(self, problem: ConvProblem) -> list[Piece]:
        """Pieces of the batch by the bytes of their transformed tiles."""
        tiles = -(-problem.window.output_hw[1] // self.m)
        tile = self.elements * (problem.channels + problem.filters) * problem.itemsize
        return cut(problem, -(-tiles * tile // self.m), self.m)

    def _tiles(self, piece: Piece, problem: ConvProblem) -> int:
        down = -(-(piece.rows.stop - piece.rows.start) // self.m)
        return (piece.images.stop - piece.images.start) * down * -(-problem.window.output_hw[1] // self.m)

    def _transform(self, x: FloatArray, piece: Piece, problem: ConvProblem, v: FloatArray, start: int) -> None:
        """Fill v (t * t, tiles, c) with the piece's input tiles, from tile `start` on."""
        down, across = (
            -(-size // self.m) for size in (piece.rows.stop - piece.rows.start, problem.window.output_hw[1])
        )
        padded = self.padded(x, piece, problem.window, (down * self.m + TAPS - 1, across * self.m + TAPS - 1))
        self.kit.winograd_input(padded, self.m, v, start)


class Depthwise(Algorithm):
    """Tap by tap, for one input channel a group, where a product would be a single column wide."""

    name = "depthwise"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.is_depthwise

    def filter_form(self, w: FloatArray, groups: int) -> FloatArray:
        """(kh, kw, c, m) for m filters a channel."""
        return w.reshape(*w.shape[:2], groups, -1)

    def forward(
        self, x: FloatArray, form: FloatArray, b: FloatArray | None, relu: bool, problem: ConvProblem, y: FloatArray
    ) -> None:
        window = problem.window

        def run(piece: Piece) -> None:
            out = y[piece.images, piece.rows]
            rows = out.shape[1]
            reach = (window.kernel[0] - 1) * window.dilation[0] + 1
            padded = self.padded(x, piece, window, ((rows - 1) * window.stride[0] + reach, window.padded_hw[1]))
            total = np.zeros((*out.shape[:3], problem.channels, form.shape[3]), x.dtype)
            for k, l, below, right in window.taps_in_order():  # noqa: E741
                seen = slice(below.start, below.start + (rows - 1) * window.stride[0] + 1, below.step)
                total += padded[:, seen, right, :, None] * form[k, l]
            out[...] = total.reshape(out.shape)
            self.kit.finish(out, b, relu)

        row = problem.window.padded_hw[1] * (problem.channels + problem.filters) * problem.itemsize
        self.workers.map(run, cut(problem, row))

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem) -> FloatArray:
        return Im2col(self.kit, self.pool, self.workers).filter_gradient(dy, x, problem)


def add_products(a: FloatArray, b: FloatArray, total: FloatArray, pool: Pool, *, begin: bool) -> None:
    """total (..., m, n) += a (..., m, k) @ b (..., k, n), or = with `begin`.

    BLAS could add, but NumPy's matmul does not ask it to, and SciPy's interface to it keeps the interpreter's lock.
    """
    if begin:
        np.matmul(a, b, out=total)
    else:
        products = pool.empty(total.shape, total.dtype)
        np.matmul(a, b, out=products)
        total += products


def filter_pieces(filters: int) -> list[slice]:
    """The filters in four pieces, or as many as there are groups of `FILTERS`."""
    return pieces(filters, FILTERS * -(-filters // (4 * FILTERS)))


def by_group(y: FloatArray, groups: int) -> FloatArray:
    """A view of contiguous y (n, p, q, k) as (groups, n * p * q, k / groups)."""
    return y.reshape(-1, groups, y.shape[3] // groups).transpose(1, 0, 2)


def _offsets(window: Window, wide: int) -> list[int]:
    """How many pixels of the flattened padded image each tap looks ahead, row by row."""
    return [
        k * window.dilation[0] * wide + l * window.dilation[1]
        for k in range(window.kernel[0])
        for l in range(window.kernel[1])  # noqa: E741
    ]
