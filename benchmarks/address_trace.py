"""`python -m benchmarks.address_trace`: bank conflicts and sectors of every kernel of a training step.

Runs small networks and every tile of the matrix products on the CUDA emulator in its traced mode; no GPU is needed.
What was measured before is taken from its record, unless `--measure` runs all of it again.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.kernels.compiled import RECORDS, Record, rendered
from benchmarks.records import TABLES, write_or_check
from benchmarks.workload import Workload, named_options, noise
from cnn.backends import Epilogue
from cnn.backends.cuda import CudaOps
from cnn.backends.window import Window
from cnn.kernels import FOLDER
from cnn.kernels.families.gemm_rules import variants
from cnn.kernels.families.tensor_rules import GATHER_TILES, WGRAD_TILES, TensorTile
from cnn.models import build_model
from foundation.files import write_text

TABLE = TABLES / "address_trace.md"
RECORD = RECORDS / "address_trace.json"
ROOT = Path(__file__).resolve().parents[1]
# What the figures depend on: the kernels, what launches them, and the emulator.
SOURCES = {
    **dict.fromkeys(
        ("cnn/kernels", "cnn/backends", "cnn/layers", "cnn/models", "tests/cuda_emulator"),
        ("**/*.py", "**/*.cu", "**/*.cuh", "**/*.h"),
    ),
    "cnn/training": ("step.py", "batches.py", "losses.py", "optimizers.py"),
    "benchmarks": ("address_trace.py", "workload.py"),
}
TESTS = ROOT / "tests"  # where the emulator is

LEAST_EFFICIENCY = 0.9
MOST_WAYS = 1.0

# A step of it has more than 1024 rows before and after the pool, from where on sums over rows are made in parts.
LAYERS: list[Any] = [
    {"conv2d": {"filters": 64, "bias": False}},
    "batch_norm",
    "relu",
    {"max_pool2d": 2},
    {"conv2d": {"filters": 128, "kernel": 1, "bias": False}},
    "batch_norm",
    "relu",
    {"residual": {"layers": [{"conv2d": {"filters": 128, "kernel": 1, "bias": False}}, "batch_norm", "relu"]}},
    {"max_pool2d": {"kernel": "all"}},
    "flatten",
    {"dense": {"units": 64}},
    "relu",
    {"dropout": 0.5},
    {"dense": {"units": "classes"}},
]
INPUT, CLASSES, BATCH = (16, 16, 1), 7, 20


@dataclass(frozen=True)
class Allowance:
    """What may be worse than asked for: kernels and accesses by pattern, the limit for them, and the reason.

    An access is `load x` or `store y` of an array, or `shared load file.cuh` of shared memory, there by a line of the
    source that has `text`.
    """

    kernels: str
    accesses: str
    limit: float
    reason: str
    text: str = ""


_MERGED = "NVRTC merges the neighbouring {}: in machine code {}"
_VECTORS = "numbers per channel, which stay in the cache"
EXCEPTIONS = (
    # What is only so in the text.
    Allowance(
        "column_sums<*",
        "shared load channels.cuh",
        3.0,
        _MERGED.format("loads", "LDS.128, without conflicts"),
        text="other.at[k]",
    ),
    Allowance(
        "tail_backward_sums<*",
        "shared load channels.cuh",
        8.0,
        _MERGED.format("loads", "LDS.128 of two ways"),
        text="other.at[k]",
    ),
    Allowance(
        "conv_one_channel_backward_filter<*, 4, float>",
        "shared store convolution_direct.cu",
        4.0,
        _MERGED.format("stores", "STS.128, without conflicts"),
        text="lanes_sums[threadIdx.x * FILTERS + f] =",
    ),
    Allowance(
        "conv_one_channel_backward_filter<*, 8, bfloat16>",
        "shared store convolution_direct.cu",
        8.0,
        _MERGED.format("stores", "STS.128 of two ways"),
        text="lanes_sums[threadIdx.x * FILTERS + f] =",
    ),
    Allowance("tensor_backward_input<*", "load added", 0.25, _MERGED.format("loads", "LDG.128 of whole sectors")),
    # Bank conflicts that are there.
    Allowance(
        "tensor_forward<*",
        "shared store tensor_gemm.cuh",
        8.0,
        "sums for the moments, 16 stores a thread and tile: to be changed",
        text="= own.",
    ),
    Allowance(
        "*<Tile<64, *",
        "shared store gemm.cuh",
        2.0,
        "float32 tiles of 64 rows or columns: transposed with a pitch of 68 floats, 16 of k side by side",
        text="= fetched[i].",
    ),
    Allowance(
        "tail_backward_sums<*",
        "shared store reduce.cuh",
        2.0,
        "eight sums a thread, handed on a few times a block",
        text="handed[threadIdx.x] = value",
    ),
    # Sectors of which less is used.
    Allowance("tensor_forward<*", "load bias", 0.5, _VECTORS),
    Allowance("*<Tile<*", "load bias", 0.25, _VECTORS),
    Allowance("tail*<*, bfloat16>", "load *beta", 0.5, _VECTORS),
    Allowance("tail*<*, bfloat16>", "load *gamma", 0.5, _VECTORS),
    Allowance("tail*<*, bfloat16>", "load moments", 0.5, _VECTORS),
    Allowance(
        "column_sums<*", "load x", 0.25, "up to 1024 rows: tiles of four channels, so that there are more blocks"
    ),
    Allowance("column_sums<float>", "store sums", 0.4, "the same, of seven classes"),
    Allowance(
        "conv_one_channel*",
        "load [wx]",
        0.12,
        "one channel: lanes share its pixels and filters, which stay in the cache",
    ),
    Allowance("dropout<float>", "*", 0.5, "eight floats a thread, by two instructions: the other half follows at once"),
    Allowance("gather_batch<*", "load images", 0.5, "bytes of shifted and mirrored rows"),
    Allowance(
        "*<Tile<64, 64, 16, 8, 4>, false>",
        "*",
        0.24,
        "float32 sizes that are no multiple of four, such as seven classes",
    ),
    Allowance("*cross_entropy", "*", 0.5, "a few numbers for an image"),
    Allowance("next_augmented_batch", "*", 0.15, "a few numbers for an image"),
)


@dataclass(frozen=True)
class Row:
    """All accesses of a kernel to an array, or of one line of its source to shared memory."""

    kernel: str
    access: str  # as in Allowance
    figure: float  # ways of shared memory; else bytes asked for, of those in the sectors moved
    place: str  # `file:line`, of an array the one that wastes most
    text: str  # what stands there

    @property
    def shared(self) -> bool:
        """Whether it is of shared memory, where less is better."""
        return self.access.startswith("shared")

    @property
    def exception(self) -> Allowance | None:
        """The first that applies."""
        for each in EXCEPTIONS:
            matches = fnmatchcase(self.kernel, each.kernels) and fnmatchcase(self.access, each.accesses)
            if matches and each.text in self.text:
                return each
        return None

    def within(self, limit: float) -> bool:
        """Whether the figure, as it is shown, is as good as the limit."""
        figure = round(self.figure, 2)
        return figure <= limit if self.shared else figure >= limit

    @property
    def excused(self) -> bool:
        """Whether it needs an exception, and has one."""
        return not self.good and self.exception is not None

    @property
    def good(self) -> bool:
        """Whether it needs no exception."""
        return self.within(MOST_WAYS if self.shared else LEAST_EFFICIENCY)


def emulated_ops(**options: Any) -> tuple[Any, CudaOps]:
    """The emulator in its traced mode, and a backend on it."""
    if str(TESTS) not in sys.path:
        sys.path.append(str(TESTS))
    xp = importlib.import_module("cuda_emulator").Emulator("traced", timeout_s=600)
    return xp, CudaOps(xp, device="emulator", **options)


def trace_step(storage: str) -> list[Any]:
    """The traced lines of a training step with Adam, of images that are mirrored and shifted."""
    xp, ops = emulated_ops()
    config = {"name": "traced", "init": "he_normal", "layers": LAYERS}
    model = build_model(config, ops, INPUT, CLASSES, seed=0, storage=storage)
    work = Workload(named_options("adam", "flip_shift"), model, *noise(BATCH, INPUT, CLASSES), BATCH)
    xp.trace.clear()
    work()
    return xp.trace.lines()


def trace_products() -> list[Any]:
    """The traced lines of every tile of the matrix products, whole tiles of each."""
    xp, ops = emulated_ops(tf32=True)
    for tile in GATHER_TILES:
        _products(ops, tile, _forward_and_input)
    for tile in WGRAD_TILES:
        _products(ops, tile, _filter)
    lines = xp.trace.lines()
    for variant in variants():
        xp, ops = emulated_ops(plan=lambda *_, variant=variant: (variant, 1))
        x, w = _array(ops, (256, 128)), _array(ops, (128, 128))
        for part in (_forward_and_input, _filter):
            part(ops, x.reshape(4, 8, 8, 128), _array(ops, (1, 2, 128, 128)))
        ops.dense(x, w, None)
        ops.dense_backward_input(x, w)
        ops.dense_backward_filter(x, x)
        lines += xp.trace.lines()
    return lines


def _products(ops: CudaOps, tile: TensorTile, passes: Callable[..., None]) -> None:
    ops.tensor_plan = lambda product, device: (tile, 1)
    storage = "bfloat16" if tile.element == "bfloat16" else "float32"
    channels = max(tile.n, tile.k) if passes is _forward_and_input else max(64, 0 if tile.warpgroups else tile.m)
    filters = channels if passes is _forward_and_input else max(tile.n, 8)
    x = _array(ops, (4, 8, 8, channels), storage)
    passes(ops, x, _array(ops, (1, 2, channels, filters), storage), storage)


def _array(ops: CudaOps, shape: tuple[int, ...], storage: str = "float32") -> Any:
    return ops.stored(ops.array(np.ones(shape, np.float32)), storage)


def _forward_and_input(ops: CudaOps, x: Any, w: Any, storage: str = "float32") -> None:
    window, filters = Window.over((8, 8), (1, 2), padding="same"), w.shape[3]
    # Of float32 a kernel of its own computes them; the step has it.
    moments = ops.array(np.zeros((2, filters), np.float32)) if storage == "bfloat16" else None
    y = ops.conv2d(x, w, ops.array(np.zeros(filters, np.float32)), window, 1, Epilogue(None, moments))
    ops.conv2d_backward_input(y, w, window, 1, added=x)


def _filter(ops: CudaOps, x: Any, w: Any, storage: str = "float32") -> None:
    window = Window.over((8, 8), (1, 2), padding="same")
    ops.conv2d_backward_filter(_array(ops, (*x.shape[:3], w.shape[3]), storage), x, window, 1)


def rows_of(lines: Iterable[Any]) -> list[Row]:
    """What the lines come to, by kernel and access, in the order in which kernels were first run."""
    groups: dict[tuple[str, str, str], list[Any]] = {}
    kernels: dict[str, int] = {}
    for line in lines:
        kernels.setdefault(line.kernel, len(kernels))
        shared, file = line.space == "shared", line.places[0].partition(":")[0]
        access = f"shared {line.kind} {file}" if shared else f"{line.kind} {line.array or 'of no argument'}"
        if shared or line.accesses.sectors:
            groups.setdefault((line.kernel, access, line.places[0] if shared else ""), []).append(line)
    rows = [_row(kernel, access, group) for (kernel, access, _), group in groups.items()]
    return sorted(rows, key=lambda row: (kernels[row.kernel], row.access, row.place))


def _row(kernel: str, access: str, lines: list[Any]) -> Row:
    accesses = lines[0].accesses
    for line in lines[1:]:
        accesses += line.accesses
    worst = max(lines, key=lambda line: 32 * line.accesses.sectors - line.accesses.useful).places[0]
    figure = accesses.ways if access.startswith("shared") else accesses.efficiency
    return Row(kernel, access, figure, worst, _text(worst))


def _text(place: str) -> str:
    file, _, number = place.partition(":")
    return (FOLDER / file).read_text(encoding="utf-8").splitlines()[int(number) - 1].strip()


def measure() -> list[Row]:
    """The rows of a step in both storage types, and of all tiles."""
    lines = [line for storage in ("float32", "bfloat16") for line in trace_step(storage)]
    return rows_of(lines + trace_products())


def sources_digest(root: Path = ROOT) -> str:
    """A hash of everything that the rows depend on: the files of `SOURCES`, folder -> patterns."""
    digest = hashlib.sha256()
    for source, patterns in SOURCES.items():
        for path in sorted({path for pattern in patterns for path in (root / source).glob(pattern)}):
            digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def known_rows() -> list[Row]:
    """The recorded rows if they are of today's sources, else measured ones."""
    found = Record(RECORD).find("rows", sources_digest())
    if found is None:
        return measure()
    return [Row(kernel, access, figure, place, _text(place)) for kernel, access, figure, place in found]


def render_record(rows: Iterable[Row]) -> str:
    """The text of the record of these rows."""
    return rendered({"rows": (sources_digest(), [[row.kernel, row.access, row.figure, row.place] for row in rows])})


def failures(rows: Iterable[Row]) -> list[str]:
    """What is worse than is asked for, a line each."""
    found = []
    for row in rows:
        if row.good or (row.exception and row.within(row.exception.limit)):
            continue
        limit = row.exception.limit if row.exception else MOST_WAYS if row.shared else LEAST_EFFICIENCY
        bound = f"{row.figure:.2f}, {'more' if row.shared else 'less'} than {limit:g}"
        found.append(f"{row.kernel}, {row.access}: {bound}, at {row.place}: {row.text}")
    return found


def render(rows: Sequence[Row]) -> str:
    """The table as Markdown: a line for each kernel, and one for each exception."""
    lines = [
        "# Bank conflicts and sectors of the kernels",
        "",
        "Written by `python -m benchmarks.address_trace --write`; a test compares it with the code, but for",
        "line numbers.",
        "",
        "The CPU emulator runs a training step in float32 and in bfloat16, and every tile of the matrix",
        "products, and puts the addresses of each warp together. *Ways*: passes that a warp's access of",
        f"shared memory takes, over those without bank conflicts, of the worst line; at most {MOST_WAYS:g} is",
        "asked for. *Loads*, *stores*: bytes that lanes ask for, of those in the 32-byte sectors of global",
        f"memory that are moved, of the worst array; at least {LEAST_EFFICIENCY} is asked for. Accesses all of",
        "whose lanes have the same address are left out. What has an exception is in the last column alone.",
        "No figure: the kernel has no such access.",
        "",
        "Loads and stores are as the text has them, before NVRTC merges neighbouring ones. `cp.async` and",
        "`ldmatrix` are checked for bank conflicts wherever the emulator runs them: a launch that has one",
        "fails. Where an array begins is taken to be a multiple of 256 bytes.",
        "",
        "| kernel | ways | loads | stores | exceptions |",
        "| --- | --- | --- | --- | --- |",
    ]
    for kernel in dict.fromkeys(row.kernel for row in rows):
        mine = [row for row in rows if row.kernel == kernel]
        accesses = sorted({row.access for row in mine})
        cells = [_worst([row for row in mine if not row.excused], start) for start in ("shared", "load", "store")]
        excused = [_worst([row for row in mine if row.excused and row.access == access], access) for access in accesses]
        lines.append(f"| `{kernel}` | {' | '.join([*cells, ', '.join(filter(None, excused))])} |")
    lines += [
        "",
        "What may be worse, and why:",
        "",
        "| kernels | accesses | limit | reason |",
        "| --- | --- | ---: | --- |",
    ]
    for each in EXCEPTIONS:
        what = f"`{each.accesses}`" + (f" at `{each.text}`" if each.text else "")
        lines.append(f"| `{each.kernels}` | {what} | {each.limit:g} | {each.reason} |")
    return "\n".join(lines) + "\n"


def _worst(rows: Sequence[Row], start: str) -> str:
    """The figure of the worst access that begins so; what and where it is, unless it is ideal."""
    mine = [row for row in rows if row.access.startswith(start)]
    if not mine:
        return ""
    worst = (max if mine[0].shared else min)(mine, key=lambda row: row.figure)
    figure = f"{worst.figure:.2f}"
    return figure if figure == "1.00" else f"{worst.access} {figure} ({worst.place})"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 1 where a kernel is worse than is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.address_trace",
        description="Bank conflicts and sectors of the kernels, by the CPU emulator. Needs g++ and no GPU.",
    )
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks/address_trace.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 if that file is out of date")
    parser.add_argument("--measure", action="store_true", help="measure, also what is recorded of today's sources")
    chosen = parser.parse_args(arguments)
    rows = measure() if chosen.measure else known_rows()
    bad = failures(rows)
    for line in bad:
        print(f"error: {line}", file=sys.stderr)
    text = render(rows)
    if chosen.check and TABLE.exists() and without_lines(text) == without_lines(TABLE.read_text(encoding="utf-8")):
        text = TABLE.read_text(encoding="utf-8")
    if chosen.write:
        write_text(RECORD, render_record(rows))
    if chosen.write or chosen.check:
        return write_or_check(TABLE, text, chosen.check) or int(bool(bad))
    print(text)
    return int(bool(bad))


def without_lines(text: str) -> str:
    """The table without the numbers of source lines, which every edit above them moves."""
    return re.sub(r"(\.cuh?):\d+", r"\1", text)


if __name__ == "__main__":
    sys.exit(main())
