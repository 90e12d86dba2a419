"""Bugs planted in small kernels, each with how it is caught.

The checked build stops with a report that names the line. The fast build stops too, or its result is wrong in at
least one of the three orders.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from cuda_emulator import EmulatorError
from cuda_emulator.bench import KERNELS, ORDERS, Bench

N = 128
X = np.arange(1, N + 1, dtype=np.float32)
TENSORS = np.dtype([("data", np.uint64, 2)])

WRONG = "wrong result"
MISSED = "not caught"
CHANCE = "depends on what lay in memory"


@dataclass(frozen=True)
class Bug:
    """How a kernel is launched, what it should compute, and what is said about it instead."""

    name: str
    checked: str  # pattern of the report, or WRONG
    fast: str  # the same; or MISSED, if no order shows it; or CHANCE
    arguments: Callable[[Any], tuple[Any, ...]] = lambda xp: (xp.asarray(X), xp.empty(N, np.float32))
    output: int = 1  # position of the output among the arguments
    expected: np.ndarray | None = None  # None: the launch must fail
    grid: int = 1
    block: int = N
    shared_mem: int = 0
    line: bool = True  # whether the report names a marked line

    def __str__(self) -> str:
        return self.name


def floats(size: int) -> Callable[[Any], tuple[Any, ...]]:
    return lambda xp: (xp.asarray(X), xp.empty(size, np.float32))


def ints(values: Any, size: int = N) -> Callable[[Any], tuple[Any, ...]]:
    return lambda xp: (xp.asarray(np.asarray(values, np.int32)), xp.zeros(size, np.int32))


def tensors(*arrays: Any) -> np.ndarray:
    return np.array([([array.data.ptr for array in arrays],)], dtype=TENSORS)


def freed(xp: Any) -> tuple[Any, ...]:
    kept, gone = xp.empty(N, np.float32), xp.asarray(X)
    return tensors(kept, gone), kept  # the second is given to the test only, to keep it alive


REVERSED = X[::-1]
TWICE = np.concatenate([X[::-1], X[::-1] + 1])
BUGS = [
    # ---- barriers left out
    Bug("no_barrier_before_read", r"race on shared memory 'tile'.*no barrier between", WRONG, expected=REVERSED),
    Bug("no_barrier_before_reuse", r"race on shared memory 'tile'", WRONG, floats(2 * N), expected=TWICE),
    Bug("no_syncwarp", r"race on shared memory 'tile'.*no __syncwarp between", WRONG, block=32,
        arguments=floats(32), expected=X[31::-1]),
    Bug("shuffle_is_no_syncwarp", r"race on shared memory 'tile'.*no __syncwarp between", MISSED, block=32,
        arguments=floats(32), expected=X[31::-1]),
    # ---- out of bounds
    Bug("read_past_end", r"out of bounds: read of 4 bytes at byte offset 512 of argument 0 \(x\), float32\[128\]",
        r"out of bounds: read at byte offset 512 of argument 0 \(x\)"),
    Bug("read_before_start", r"out of bounds: read of 4 bytes at byte offset -4 of argument 0 \(x\)", WRONG,
        expected=np.concatenate([X[:1], X[:-1]])),
    Bug("write_past_end", r"out of bounds: write of 4 bytes at byte offset 512 of argument 1 \(y\)",
        r"out of bounds: write at byte offset 512 of argument 1 \(y\)"),
    Bug("write_before_start", r"out of bounds: write of 4 bytes at byte offset -4 of argument 1 \(y\)",
        r"bytes before the start of argument 1 \(y\), float32\[128\] \(512 bytes\) were overwritten", line=False),
    Bug("shared_read_past_end", r"out of bounds: read of 4 bytes at byte offset 512 of shared memory 'tile'",
        r"out of bounds: read at byte offset 512 of shared memory 'tile'"),
    Bug("shared_write_past_end", r"out of bounds: write of 4 bytes at byte offset 512 of shared memory 'tile'",
        r"out of bounds: write at byte offset 512 of shared memory 'tile'"),
    Bug("shared_read_before_start", r"out of bounds: read of 4 bytes at byte offset -4 of shared memory 'tile'", WRONG,
        expected=np.concatenate([X[:1], X[:-1]])),
    Bug("shared_row_too_long", r"array index out of bounds: 32", r"out of bounds: write at byte offset 512 of shared"),
    Bug("wrong_shared_size", r"out of bounds: write of 4 bytes at byte offset 500 of shared memory 'dynamic'",
        r"bytes after the end of shared memory 'dynamic' \(500 bytes\) were overwritten|at byte offset 512",
        shared_mem=500),
    Bug("wrong_shared_size", r"extern __shared__ is used, but shared_mem is 0",
        r"extern __shared__ is used, but shared_mem is 0", line=False),
    Bug("local_array_overflow", r"array index out of bounds: 8", MISSED, lambda xp: (
        xp.asarray(X), xp.empty(N, np.float32), np.int32(9)), expected=np.full(N, 2.0, np.float32)),
    Bug("struct_pointer_past_end",
        r"out of bounds: write of 4 bytes at byte offset 400 of the array at byte 8 of argument 0 \(tensors\)",
        r"out of bounds: write at byte offset 400 of the array at byte 8 of argument 0 \(tensors\)",
        lambda xp: (tensors(a := xp.zeros(64, np.float32), b := xp.zeros(100, np.float32)), np.int32(100), (a, b))),
    Bug("use_after_free", r"use after free: read of 4 bytes at byte offset 0",
        r"use after free: read at byte offset \d+", freed),
    Bug("null_pointer", r"null pointer", r"null pointer", lambda xp: (None, xp.empty(N, np.float32))),
    # ---- uninitialised
    Bug("shared_not_initialised", r"uninitialised read at byte offset 0 of shared memory 'sum'", WRONG,
        expected=np.full(N, X.sum())),
    Bug("accumulates_into_empty", r"uninitialised read at byte offset 0 of argument 1 \(y\)", WRONG, expected=X),
    Bug("local_not_initialised", WRONG, CHANCE, expected=np.full(N, X.sum())),
    Bug("output_not_written", WRONG, WRONG, expected=X),
    # ---- races
    Bug("race_between_warps", r"race on shared memory 'last'.*overwrites what thread #\d+ has written", WRONG,
        expected=np.full(N, X[0])),
    Bug("race_inside_a_warp", r"race on shared memory 'last'.*no __syncwarp between", WRONG, expected=np.full(N, X[0])),
    Bug("race_between_blocks", r"race on argument 1 \(y\).*of block \(0,0,0\) has written, no order between blocks",
        MISSED, lambda xp: (xp.asarray(X), xp.zeros(1, np.float32)), grid=8, expected=X[:8].sum(keepdims=True)),
    Bug("blocks_overlap", r"race on argument 1 \(y\).*no order between blocks", WRONG, grid=2, block=64,
        arguments=floats(96), expected=X[:96] + (np.arange(96) >= 64)),
    Bug("plain_histogram", r"race on argument 1 \(y\).*no __syncwarp between", MISSED, ints(np.arange(N) % 7, 7),
        expected=np.bincount(np.arange(N) % 7)),
    Bug("reads_another_block", r"race on argument 1 \(y\).*no order between blocks", WRONG, floats(2 * N), grid=2,
        expected=np.concatenate([X, 2 * X])),
    Bug("last_block_without_fence", r"race on argument 1 \(parts\).*no order between blocks", MISSED, lambda xp: (
        xp.asarray(X), xp.empty(8, np.float32), xp.zeros(1, np.uint32), xp.empty(1, np.float32)), 3, grid=8,
        expected=X[:8].sum(keepdims=True)),
    # ---- divergence
    Bug("early_exit", r"barrier divergence", r"barrier divergence", line=False),
    Bug("barrier_in_branch", r"barrier divergence: .*planted_bugs.cu", r"barrier divergence", line=False),
    Bug("two_barriers", r"barrier divergence: this thread reaches __syncthreads at planted_bugs.cu:\d+ while others",
        r"barrier divergence: this thread reaches __syncthreads at planted_bugs.cu:\d+ while others"),
    Bug("shuffle_from_ended_lane", r"lane 0 reads lane 20, which takes no part", r"reads lane 20", block=32),
    Bug("shuffle_from_lane_outside", r"lane \d+ reads lane 1[6-9], which takes no part",
        r"reads lane \d+, which", block=32),
    Bug("mask_lacks_caller", r"mask 0000ffff lacks the calling lane 16", r"mask 0000ffff lacks the calling lane",
        block=32),
    Bug("shuffles_in_branches", r"warp divergence: lane \d+ calls __shfl_sync", r"warp divergence", block=32),
    Bug("deadlock", r"deadlock: no thread can run; thread \(0,0,0\) waits in __syncwarp at planted_bugs.cu:\d+",
        r"deadlock: no thread can run", block=32),
    Bug("endless_loop", r"timeout: the kernel still runs after 0\.3 s", r"timeout: the kernel still runs", lambda xp: (
        xp.asarray(X), xp.empty(N, np.float32), np.int32(0))),
    # ---- tensor cores and asynchronous copies
    Bug("copy_without_wait", r"read of shared memory 'tile'.* where a copy is on its way", WRONG, expected=X, block=32),
    Bug("copy_waits_for_too_little", r"where a copy is on its way", WRONG, expected=X, block=32),
    Bug("copy_is_not_committed", r"where a copy is on its way", WRONG, expected=X, block=32),
    Bug("copy_without_barrier", r"where a copy is on its way|race on shared memory 'tile'", WRONG, expected=REVERSED,
        block=32),
    Bug("copy_into_what_is_read", r"race on shared memory 'tile'.*no __syncwarp between", MISSED, expected=REVERSED,
        block=32),
    Bug("copy_past_end", r"out of bounds: read of 16 bytes at byte offset 512 of argument 0 \(x\)",
        r"out of bounds: read at byte offset 512 of argument 0 \(x\)", block=32),
    Bug("copy_of_unaligned", r"cp.async: an address is no multiple of 16", r"cp.async: an address is no multiple of 16",
        block=32),
    Bug("copies_conflict", r"cp.async: bank conflict at planted_bugs.cu:\d+", r"cp.async: bank conflict", block=32),
    Bug("matrices_conflict", r"ldmatrix: bank conflict at planted_bugs.cu:\d+", r"ldmatrix: bank conflict", block=32),
    Bug("matrices_unaligned", r"ldmatrix: the address of a row is no multiple of 16",
        r"ldmatrix: the address of a row is no multiple of 16", block=32),
    Bug("matrices_without_barrier", r"race on shared memory 'tile'.*no __syncwarp between", MISSED,
        arguments=floats(32), expected=X[np.arange(32) // 8 * 8 + np.arange(32) // 4], block=32),
    Bug("product_of_half_a_warp", r"some lanes of the warp have ended", r"some lanes of the warp have ended", block=32),
    Bug("copy_into_a_product", r"read of shared memory 'tile'.* where a copy is on its way", WRONG,
        expected=np.full(N, 8), line=False),
    Bug("product_waits_for_too_little", WRONG, WRONG, expected=np.full(N, 16)),
    Bug("product_is_not_committed", WRONG, WRONG, expected=np.full(N, 8)),
    Bug("product_of_three_warps", r"wgmma: a warpgroup is four warps", r"a warpgroup is four warps", block=96,
        expected=np.full(N, 8)),
    Bug("view_of_unaligned", r"wgmma: what a view says is no multiple of 16", r"no multiple of 16"),
    # ---- the rest
    Bug("misaligned_vector", r"misaligned access: type 'const struct float4' needs.*multiple of 16",
        r"null pointer or misaligned vector read|out of bounds", block=31),
    Bug("writes_const", r"write to a const argument: 4 bytes at byte offset 0 of argument 0 \(x\)",
        r"write to a const argument: write at byte offset \d+ of argument 0 \(x\)"),
    Bug("divides_by_zero", r"integer division by zero", r"integer division by zero", ints(np.arange(N) - 50)),
    Bug("overflows", r"signed integer overflow in a multiplication", MISSED, ints(np.full(N, 32768)),
        expected=np.full(N, -(2**31))),
    Bug("shifts_too_far", r"shift by 32 bits is undefined", MISSED, ints(np.full(N, 32)), expected=np.ones(N)),
    Bug("large_frame", r"stack overflow: more than 131072 bytes", r"stack overflow", line=False, block=1,
        arguments=lambda xp: (xp.asarray(X), xp.empty(N, np.float32), np.int32(1))),
    Bug("too_much_static_shared", r"static shared memory: 'tile' brings it to 49156 bytes, more than 48 KiB",
        r"more than 48 KiB", line=False),
    Bug("failed_assertion", r"assert\(threadIdx.x < 100\) failed at planted_bugs.cu:\d+", r"assert"),
]  # fmt: skip


def marked_lines(kernel: str) -> set[str]:
    """`planted_bugs.cu:<line>` of every marked line of the kernel."""
    found, inside = set(), False
    for number, text in enumerate((KERNELS / "planted_bugs.cu").read_text().splitlines(), 1):
        if "__global__" in text:
            inside = f" {kernel}(" in text
        if inside and text.endswith("// BUG"):
            found.add(f"planted_bugs.cu:{number}")
    return found


def outcome(bug: Bug, bench: Bench) -> str:
    """The report; WRONG or MISSED if there is none."""
    arguments = bug.arguments(bench.xp)
    kernel = bench.kernel(bug.name)
    given = arguments[: len(kernel.signature)]
    try:
        kernel((bug.grid,), (bug.block,), given, shared_mem=bug.shared_mem)
    except EmulatorError as error:
        return str(error)
    assert bug.expected is not None, "the launch should have failed"
    result = bench.xp.asnumpy(arguments[bug.output])
    # A value that is huge because a local variable was never set does not count as close to anything.
    return MISSED if np.allclose(result, bug.expected, rtol=1e-5) else WRONG


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_the_checked_build_reports_it(bug, bugs):
    bench = Bench("planted_bugs.cu", "checked", "forward", timeout_s=0.3) if bug.name == "endless_loop" else None
    said = outcome(bug, bench or bugs("checked", "forward"))
    if bug.checked == WRONG:
        assert said == WRONG
        return
    assert said.startswith(f"{bug.name}: ")
    assert re.search(bug.checked, said), said
    if bug.line:
        assert any(line in said for line in marked_lines(bug.name)), said


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_the_fast_build_shows_it_in_some_order(bug, bugs):
    said = []
    for order in ORDERS:
        slow = bug.name == "endless_loop"
        bench = Bench("planted_bugs.cu", "fast", order, timeout_s=0.1) if slow else bugs("fast", order)
        said.append(outcome(bug, bench))
    if bug.fast == CHANCE:
        return
    if bug.fast in (WRONG, MISSED):
        caught = [text for text in said if text != MISSED]
        assert bool(caught) == (bug.fast == WRONG), said
    else:
        assert all(re.search(bug.fast, text) for text in said), said
