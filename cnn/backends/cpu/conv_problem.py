"""What a convolution's algorithm depends on: the shapes; and how a batch is cut into chunks of cache size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from cnn.backends.cpu.workers import chunks
from cnn.backends.window import Window

# Bytes of scratch per chunk: unrolled windows, or transformed tiles. Measured on a core with 512 KB of L2 and 32 MB of
# shared L3: from 1 to 4 MB makes no difference, below that the products get too small, above it they leave the cache.
CHUNK_BYTES = 2 << 20
# A batch has at least so many chunks where its size allows, for that many cores; a single image has two, if it is worth
# waking a second core, which then has to fetch the image from the first one's cache.
_LEAST_CHUNKS, _LEAST_CHUNKS_OF_AN_IMAGE, _WORTH_TWO_CORES = 8, 2, 4_000_000  # multiply-accumulates


@dataclass(frozen=True)
class ConvProblem:
    """Shapes of one convolution: x (batch, h, w, channels), w (kh, kw, channels / groups, filters)."""

    batch: int
    channels: int
    filters: int
    window: Window
    groups: int = 1
    itemsize: int = 4

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the definition."""
        pixels = self.batch * self.window.output_hw[0] * self.window.output_hw[1]
        return pixels * self.window.taps * self.channels * self.filters // self.groups

    @property
    def is_plain(self) -> bool:
        """Whether it is neither strided nor dilated nor grouped."""
        return self.window.stride == (1, 1) and self.window.dilation == (1, 1) and self.groups == 1

    @property
    def is_depthwise(self) -> bool:
        """One input channel a group: as a product it would be a single column wide."""
        return self.groups > 1 and self.channels == self.groups


class Filter(NamedTuple):
    """A convolution's filter w (kh, kw, depth, width * groups), as it lies or `flipped`.

    A flipped one is that of the transposed convolution: taps in reverse, inputs and outputs exchanged within each
    group. It is never laid out as such: who reads a filter reads it in that order.
    """

    w: NDArray[Any]
    groups: int = 1
    flipped: bool = False

    @property
    def columns(self) -> int:
        """What the convolution has of filters: of the flipped one, the inputs."""
        return self.w.shape[2] * self.groups if self.flipped else self.w.shape[3]

    @property
    def terms(self) -> int:
        """Inputs of a group."""
        return self.w.shape[3] // self.groups if self.flipped else self.w.shape[2]


class Chunk(NamedTuple):
    """Some images of a batch and, of each, some rows of output pixels."""

    images: slice
    rows: slice


def cut(problem: ConvProblem, row_bytes: int, row_step: int = 1) -> list[Chunk]:
    """The batch in chunks whose scratch, `row_bytes` for each row of output pixels, fills `CHUNK_BYTES`.

    Rows are cut only where a whole image is too large or the batch is one image, at multiples of `row_step`; such a
    chunk is of one image. So a chunk of a contiguous array of images is contiguous itself.
    The cut depends on shapes alone, never on threads, so that a run repeats on any number of cores.
    """
    batch, rows = problem.batch, problem.window.output_hw[0]
    images = max(1, min(CHUNK_BYTES // max(1, rows * row_bytes), -(-batch // _LEAST_CHUNKS)))
    least = _LEAST_CHUNKS_OF_AN_IMAGE if batch == 1 and problem.macs >= _WORTH_TWO_CORES else 1
    parts = max(-(-rows * row_bytes // (2 * CHUNK_BYTES)), least)
    step = row_step * -(-rows // (parts * row_step))
    return [
        Chunk(slice(start, min(start + images, batch)), slice(top, min(top + step, rows)))
        for start in range(0, batch, images)
        for top in range(0, rows, step)
    ]


def image_chunks(images: NDArray[Any], size: int = CHUNK_BYTES) -> list[slice]:
    """Images (n, ...) in chunks of about `size` bytes, for a pass over each."""
    return chunks(len(images), size // max(1, images[:1].nbytes))
