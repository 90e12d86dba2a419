"""Algorithms for a convolution: windows read in place (direct) or unrolled (im2col), Winograd's two tile sizes, and
tap by tap.

Each computes a chunk of the batch at a time, so that its scratch is still in the cache when the products read it, and
so that the memory taken does not grow with the batch. No result depends on how the work is shared: a number's terms are
added up in one order. None of it uses BLAS, whose threads would be in the way of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from cnn.backends.cpu import conv_primitives as primitives
from cnn.backends.cpu import depthwise_kernels
from cnn.backends.cpu.conv_primitives import FloatArray, Rows, Weights
from cnn.backends.cpu.conv_problem import Chunk, ConvProblem, Filter, cut, image_chunks
from cnn.backends.cpu.memory import Pool
from cnn.backends.cpu.vectors import Zeros
from cnn.backends.cpu.winograd import TAPS
from cnn.backends.cpu.workers import Workers, chunks
from cnn.backends.window import Window

# A whole batch's scratch of so many bytes is a small batch: all of it is made, then its products are shared by the
# filter, not by the image. So a product keeps what rows it has, and a filter goes through the cache once.
_SMALL_BATCH_BYTES = 4 << 20
_FEW_ROWS = 1024  # of windows; more are shared by row
# Input that is prepared (padded, unrolled, transformed) before its products are added to a filter's gradient, in bytes:
# few enough for a shared cache.
_GRADIENT_BYTES = 12 << 20
_FILTER_BYTES = 320 << 10  # of a filter's transform, which a core makes and uses at once, beside the tiles in its cache


class Algorithm(ABC):
    """An algorithm for a convolution and its filter's gradient."""

    name: str

    def __init__(self, pool: Pool, workers: Workers) -> None:
        self.pool, self.workers = pool, workers

    @abstractmethod
    def supports(self, problem: ConvProblem) -> bool:
        """Whether the algorithm can compute this shape."""

    @abstractmethod
    def packed(self, given: Filter) -> Any:
        """What `forward` makes of a filter, for one that is used again."""

    @abstractmethod
    def forward(
        self,
        x: FloatArray,
        given: Filter,
        packed: Any,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
    ) -> bool:
        """Fill y (n, p, q, k) with the convolution of x, plus b, through a ReLU; `packed` is None for a new filter.

        Returns whether y is what the definition gives, to rounding: see `Winograd`.
        """

    @abstractmethod
    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem, dw: FloatArray) -> None:
        """Fill dw (kh, kw, c / groups, k)."""

    def _own_columns(self, problem: ConvProblem) -> list[slice]:
        """The filters in a chunk for each thread. A number's terms are added up in one order, however they are cut."""
        return self.workers.shares(problem.filters, primitives.block_columns(problem.itemsize))

    def padded(self, x: FloatArray, chunk: Chunk, window: Window, hw: tuple[int, int]) -> FloatArray:
        """The `hw` padded input pixels that the chunk's first output row on sees, zeros beyond the image."""
        begin = chunk.rows.start * window.stride[0]
        images = x[chunk.images]
        if not window.has_padding and (begin, hw) == (0, x.shape[1:3]):
            return images
        scratch = self.pool.empty((len(images), *hw, x.shape[3]), x.dtype)
        primitives.pad(images, window.padding[0] - begin, window.padding[2], scratch)
        return scratch


class Direct(Algorithm):
    """A product of the windows, as they lie in the padded image, with the filter as a matrix. Takes every geometry."""

    name = "direct"

    def supports(self, problem: ConvProblem) -> bool:
        return True

    def packed(self, given: Filter) -> Weights:
        return primitives.packed_weights(primitives.filter_weights(given))

    def forward(
        self,
        x: FloatArray,
        given: Filter,
        packed: Weights | None,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
    ) -> bool:
        weights = packed or primitives.filter_weights(given)
        rows = y.size // problem.filters
        if problem.groups == 1 and rows < _FEW_ROWS and rows * self.scratch(problem) <= _SMALL_BATCH_BYTES:
            windows = self.windows(x, Chunk(slice(0, len(x)), slice(0, y.shape[1])), problem)

            def columns(some: slice) -> None:
                primitives.products(windows, weights, y, some)
                primitives.finish(y, b, relu, some)

            self.workers.map(columns, self._own_columns(problem))
            return True

        def run(chunk: Chunk) -> None:
            out = y[chunk.images, chunk.rows]
            primitives.products(self.windows(x, chunk, problem), weights, out)
            primitives.finish(out, b, relu)

        self.workers.map(run, cut(problem, problem.window.output_hw[1] * self.scratch(problem)))
        return True

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem, dw: FloatArray) -> None:
        """In turns: some images are prepared, then each block of columns gathers them, both on all cores."""
        p = problem.window.output_hw[0]
        most = _GRADIENT_BYTES // (p * problem.window.output_hw[1] * self.scratch(problem))
        flat = dw.reshape(-1, problem.filters)
        for images in chunks(len(x), most):
            windows = self.windows(x, Chunk(images, slice(0, p)), problem, shared=True)

            def gather(some: slice, windows: Rows = windows, images: slice = images) -> None:
                given, more = dy[images], images.start > 0
                primitives.transposed_products(windows, given, flat, more=more, groups=problem.groups, columns=some)

            width = problem.filters // problem.groups
            self.workers.map(gather, filter_chunks(width, problem.itemsize))

    def windows(self, x: FloatArray, chunk: Chunk, problem: ConvProblem, shared: bool = False) -> Rows:
        """The left matrix of the chunk: a row for each of its output pixels. With `shared` all cores prepare it."""
        window = problem.window
        rows, q = chunk.rows.stop - chunk.rows.start, window.output_hw[1]
        reach = (window.kernel[0] - 1) * window.dilation[0] + 1
        hw = ((rows - 1) * window.stride[0] + reach, window.padded_hw[1])
        grid = (chunk.images.stop - chunk.images.start, rows, q)
        padded = self.padded(x, chunk, window, hw) if not shared else self._shared(x, chunk, window, hw)
        return primitives.window_rows(padded, window, grid, problem.groups)

    def _shared(self, x: FloatArray, chunk: Chunk, window: Window, hw: tuple[int, int]) -> FloatArray:
        images = x[chunk.images]
        if not window.has_padding and hw == x.shape[1:3]:
            return images
        padded = self.pool.empty((len(images), *hw, x.shape[3]), x.dtype)
        self.workers.map(
            lambda some: primitives.pad(images[some], window.padding[0], window.padding[2], padded[some]),
            image_chunks(padded),
        )
        return padded

    def scratch(self, problem: ConvProblem) -> int:
        """Bytes that are prepared for an output pixel."""
        (height, width), (p, q) = problem.window.padded_hw, problem.window.output_hw
        return -(-height * width * problem.channels * problem.itemsize // (p * q))


class Im2col(Direct):
    """As `Direct`, with the windows unrolled: for few channels, where a window's rows are too short."""

    name = "im2col"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.groups == 1

    def windows(self, x: FloatArray, chunk: Chunk, problem: ConvProblem, shared: bool = False) -> Rows:
        window, pixel = problem.window, problem.window.taps * problem.channels
        rows, q = chunk.rows.stop - chunk.rows.start, window.output_hw[1]
        reach = (window.kernel[0] - 1) * window.dilation[0] + 1
        hw = ((rows - 1) * window.stride[0] + reach, window.padded_hw[1])
        images = chunk.images.stop - chunk.images.start
        columns = self.pool.empty((images, rows * q * pixel), x.dtype)

        def run(some: slice) -> None:
            part = Chunk(slice(chunk.images.start + some.start, chunk.images.start + some.stop), chunk.rows)
            primitives.unroll(self.padded(x, part, window, hw), window, columns[some].reshape(-1, pixel))

        if shared:
            self.workers.map(run, image_chunks(columns))
        else:
            run(slice(0, images))
        return primitives.matrix_rows(columns.reshape(-1, pixel))

    def scratch(self, problem: ConvProblem) -> int:
        return problem.window.taps * problem.channels * problem.itemsize


class Winograd(Algorithm):
    """F(m x m, 3 x 3): see `winograd.py`.

    All results of a tile are sums of all its pixels; those that no window sees cancel out. A NaN or an infinity does
    not, nor what overflows on the way: where a result is not finite, `forward` says that it is not to be trusted.
    The rounding error of a tile is relative to its largest pixel: beside one of 1e20, a result loses all digits below
    1e13. That is not looked for, since each tile's largest and smallest values would have to be.
    """

    def __init__(self, pool: Pool, workers: Workers, m: int) -> None:
        super().__init__(pool, workers)
        self.m, self.elements = m, (m + TAPS - 1) ** 2
        self.name = f"winograd{m}"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.is_plain and problem.window.kernel == (TAPS, TAPS)

    def packed(self, given: Filter) -> FloatArray:
        """G w G^T: matrices (t * t, c, k) packed."""
        columns = given.columns
        packed = self.pool.empty(primitives.winograd_shape(given, self.m, columns), given.w.dtype)
        self.workers.map(
            lambda some: primitives.winograd_filter(given, self.m, packed, some),
            filter_chunks(columns, given.w.itemsize),
        )
        return packed

    def _packed(self, given: Filter, columns: slice) -> FloatArray:
        """As `packed`, some columns alone, by the calling thread."""
        count = columns.stop - columns.start
        packed = self.pool.empty(primitives.winograd_shape(given, self.m, count), given.w.dtype)
        primitives.winograd_filter(given, self.m, packed, columns, columns.start)
        return packed

    def _filter_chunks(self, problem: ConvProblem) -> list[slice]:
        """Filters of which so many are taken at a time that their transform stays in the cache."""
        width = primitives.block_columns(problem.itemsize)
        block = self.elements * problem.channels * width * problem.itemsize
        step = filter_chunks(problem.filters, problem.itemsize)[0].stop
        return chunks(problem.filters, min(step, width * max(1, _FILTER_BYTES // block)))

    def forward(
        self,
        x: FloatArray,
        given: Filter,
        packed: FloatArray | None,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
    ) -> bool:
        tiles = self._tiles(Chunk(slice(0, len(x)), slice(0, y.shape[1])), problem)
        if self.elements * tiles * (problem.channels + problem.filters) * problem.itemsize <= _SMALL_BATCH_BYTES:
            return self._small_batch(x, given, packed, b, relu, problem, y, tiles)
        packed = self.packed(given) if packed is None else packed

        def run(chunk: Chunk) -> bool:
            out = y[chunk.images, chunk.rows]
            v = self.pool.empty((self.elements, self._tiles(chunk, problem), problem.channels), x.dtype)
            self._transform(x, chunk, problem, v, 0)
            products = self.pool.empty((self.elements, v.shape[1], problem.filters), x.dtype)
            primitives.winograd_products(v, packed, products)
            return primitives.winograd_output(products, self.m, b, relu, out, 0)

        return all(self.workers.map(run, self.chunks(problem)))

    def _small_batch(
        self,
        x: FloatArray,
        given: Filter,
        packed: FloatArray | None,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
        tiles: int,
    ) -> bool:
        """As `forward`, each of the t * t products over all tiles: filter by filter from there on.

        What is made of a new filter never leaves the cache.
        """
        v = self.pool.empty((self.elements, tiles, problem.channels), x.dtype)
        self._transform(x, Chunk(slice(0, len(x)), slice(0, y.shape[1])), problem, v, 0)

        def run(filters: slice) -> bool:
            mine, start = (self._packed(given, filters), filters.start) if packed is None else (packed, 0)
            products = self.pool.empty((self.elements, tiles, filters.stop - filters.start), x.dtype)
            primitives.winograd_products(v, mine, products, filters.start - start)
            return primitives.winograd_output(products, self.m, b, relu, y, 0, filters.start)

        work = self._filter_chunks(problem) if packed is None else self._own_columns(problem)
        return all(self.workers.map(run, work))

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem, dw: FloatArray) -> None:
        """In turns: some tiles are transformed, then each of the t * t products gathers them, both on all cores."""
        work = self.chunks(problem)
        tiles = [self._tiles(chunk, problem) for chunk in work]
        most = _GRADIENT_BYTES // (self.elements * (problem.channels + problem.filters) * problem.itemsize)
        if sum(tiles) <= most:
            v, d = self._transformed(dy, x, work, tiles, problem)

            def gather_some(filters: slice) -> None:
                shape = (self.elements, problem.channels, filters.stop - filters.start)
                total = self.pool.empty(shape, x.dtype)
                primitives.winograd_gathered(v, d, total, filters.start)
                primitives.winograd_filter_gradient(total, self.m, dw, filters.start)

            self.workers.map(gather_some, self._filter_chunks(problem))
            return
        total = self.pool.empty((self.elements, problem.channels, problem.filters), x.dtype)
        begin = 0
        while begin < len(work):
            end, count = begin + 1, tiles[begin]
            while end < len(work) and count + tiles[end] <= most:
                count, end = count + tiles[end], end + 1
            v, d = self._transformed(dy, x, work[begin:end], tiles[begin:end], problem)

            def gather(some: slice, more: bool = begin > 0, v: FloatArray = v, d: FloatArray = d) -> None:
                primitives.winograd_gathered(v[some], d[some], total[some], more=more)

            self.workers.map(gather, chunks(self.elements, 2))
            begin = end
        self.workers.map(
            lambda rows: primitives.winograd_filter_gradient(total, self.m, dw, 0, rows),
            chunks(problem.channels, max(1, (1 << 14) // problem.filters)),
        )

    def _transformed(
        self, dy: FloatArray, x: FloatArray, work: list[Chunk], tiles: list[int], problem: ConvProblem
    ) -> tuple[FloatArray, FloatArray]:
        """The tiles of some chunks, of x (t * t, tiles, c) and of dy (t * t, tiles, k)."""
        v = self.pool.empty((self.elements, sum(tiles), problem.channels), x.dtype)
        d = self.pool.empty((self.elements, sum(tiles), problem.filters), x.dtype)
        starts = np.cumsum([0, *tiles])

        def run(index: int) -> None:
            chunk, start = work[index], int(starts[index])
            self._transform(x, chunk, problem, v, start)
            primitives.winograd_gradient(dy[chunk.images, chunk.rows], self.m, d, start)

        self.workers.map(run, range(len(work)))
        return v, d

    def chunks(self, problem: ConvProblem) -> list[Chunk]:
        """Chunks of the batch by the bytes of their transformed tiles."""
        tiles = -(-problem.window.output_hw[1] // self.m)
        tile = self.elements * (problem.channels + problem.filters) * problem.itemsize
        return cut(problem, -(-tiles * tile // self.m), self.m)

    def _tiles(self, chunk: Chunk, problem: ConvProblem) -> int:
        down = -(-(chunk.rows.stop - chunk.rows.start) // self.m)
        return (chunk.images.stop - chunk.images.start) * down * -(-problem.window.output_hw[1] // self.m)

    def _transform(self, x: FloatArray, chunk: Chunk, problem: ConvProblem, v: FloatArray, start: int) -> None:
        """Fill v (t * t, tiles, c) with the chunk's input tiles, from tile `start` on."""
        down, across = (
            -(-size // self.m) for size in (chunk.rows.stop - chunk.rows.start, problem.window.output_hw[1])
        )
        padded = self.padded(x, chunk, problem.window, (down * self.m + TAPS - 1, across * self.m + TAPS - 1))
        primitives.winograd_input(padded, self.m, v, start)


class Depthwise(Algorithm):
    """For one input channel a group, where a product would be a single column wide: see `depthwise_kernels`."""

    name = "depthwise"

    def supports(self, problem: ConvProblem) -> bool:
        return problem.is_depthwise

    def packed(self, given: Filter) -> FloatArray:
        """(kh, kw, c, m) for m filters a channel."""
        if given.flipped:  # one filter a group becomes one channel a group
            return np.ascontiguousarray(given.w[::-1, ::-1].transpose(0, 1, 3, 2))
        return given.w.reshape(*given.w.shape[:2], given.groups, -1).copy()  # a view would keep the constant

    def forward(
        self,
        x: FloatArray,
        given: Filter,
        packed: FloatArray | None,
        b: FloatArray | None,
        relu: bool,
        problem: ConvProblem,
        y: FloatArray,
    ) -> bool:
        window, taps = problem.window, self.packed(given) if packed is None else packed
        shape = self._vectors(problem)
        if shape is not None:
            taps = taps.reshape(*window.kernel, problem.channels)

        def run(chunk: Chunk) -> None:
            seen, out = self._seen(x, chunk, window), y[chunk.images, chunk.rows]
            if shape is None:
                depthwise_kernels.by_taps(seen, taps, window.stride, window.dilation, out)
            else:
                depthwise_kernels.by_vectors(shape, seen, taps, window.stride, window.dilation, out)
            primitives.finish(out, b, relu)

        self.workers.map(run, self._chunks(problem))
        return True

    def filter_gradient(self, dy: FloatArray, x: FloatArray, problem: ConvProblem, dw: FloatArray) -> None:
        """In partial sums, whose number depends on the shape alone."""
        window, shape = problem.window, self._vectors(problem)
        taps = dw.reshape(*window.kernel, problem.channels, *() if shape else (-1,))

        def run(chunk: Chunk) -> FloatArray:
            seen, given, part = self._seen(x, chunk, window), dy[chunk.images, chunk.rows], np.empty_like(taps)
            if shape is None:
                depthwise_kernels.gradient_by_taps(seen, given, window.stride, window.dilation, part)
            else:
                depthwise_kernels.gradient_by_vectors(shape, seen, given, window.stride, window.dilation, part)
            return part

        taps[...] = np.add.reduce(self.workers.map(run, self._chunks(problem)))

    def input_gradient(self, dy: FloatArray, w: FloatArray, problem: ConvProblem, dx: FloatArray) -> None:
        """Fill dx (n, h, w, c) for the gradient dy of `problem`'s output, with any stride."""
        window, taps = problem.window, w.reshape(*w.shape[:2], problem.channels, -1)
        top, left = window.padding[0], window.padding[2]

        def run(images: slice) -> None:
            depthwise_kernels.input_gradient(dy[images], taps, window.stride, window.dilation, top, left, dx[images])

        self.workers.map(run, image_chunks(dx))

    @staticmethod
    def _vectors(problem: ConvProblem) -> tuple[Zeros, Zeros, Zeros] | None:
        """What the kernels that go along rows need, if they can compute the problem."""
        if problem.filters != problem.channels:
            return None
        return depthwise_kernels.taps_and_vector(problem.window.kernel, problem.channels, problem.itemsize)

    def _seen(self, x: FloatArray, chunk: Chunk, window: Window) -> FloatArray:
        height = (chunk.rows.stop - chunk.rows.start - 1) * window.stride[0] + (window.kernel[0] - 1) * window.dilation[
            0
        ]
        return self.padded(x, chunk, window, (height + 1, window.padded_hw[1]))

    def _chunks(self, problem: ConvProblem) -> list[Chunk]:
        row = problem.window.padded_hw[1] * (problem.channels + problem.filters) * problem.itemsize
        return cut(problem, row)


def filter_chunks(filters: int, itemsize: int) -> list[slice]:
    """The filters in four chunks, or as many as there are blocks of a product's columns."""
    width = primitives.block_columns(itemsize)
    return chunks(filters, width * -(-filters // (4 * width)))
