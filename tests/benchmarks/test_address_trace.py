"""The gate of bank conflicts and sectors: what it holds, and that it notices faults planted in the kernels."""

import shutil

import numpy as np
import pytest

from benchmarks import address_trace
from benchmarks.address_trace import (
    EXCEPTIONS,
    SOURCES,
    TABLE,
    emulated_ops,
    failures,
    known_rows,
    main,
    render,
    rows_of,
    sources_digest,
)
from cnn.kernels import FOLDER
from cnn.kernels.families.gemm_rules import variants
from cuda_emulator import unavailable

pytestmark = pytest.mark.skipif(unavailable() is not None, reason=unavailable() or "")


@pytest.fixture(scope="module")
def rows():
    return known_rows()


@pytest.mark.slow
def test_every_kernel_is_as_good_as_is_asked_for(rows):
    assert failures(rows) == []


@pytest.mark.slow
def test_every_exception_is_needed(rows, monkeypatch):
    for exception in EXCEPTIONS:
        monkeypatch.setattr(address_trace, "EXCEPTIONS", tuple(each for each in EXCEPTIONS if each != exception))
        assert failures(rows), exception


@pytest.mark.slow
def test_passes_over_activations_and_products_need_no_exception(rows):
    bad = {(row.kernel.partition("<")[0], row.access) for row in rows if not row.good}
    passes = ("tail", "tail_backward_sums", "tail_backward_input", "moments", "max_pool2d", "max_pool2d_backward")
    for kernel, arrays in {
        **dict.fromkeys(passes, ("x", "dy", "y", "dx", "other")),
        **dict.fromkeys(
            ("tensor_forward", "tensor_backward_input", "tensor_backward_filter"), ("x", "w", "dy", "y", "dx")
        ),
        **dict.fromkeys(("adam_update", "add"), ("*",)),
    }.items():
        assert any(row.kernel.startswith(kernel) for row in rows)
        for array in arrays:
            assert not {(kernel, f"{kind} {array}") for kind in ("load", "store")} & bad
        if arrays == ("*",):
            assert kernel not in {name for name, _ in bad}


@pytest.mark.slow
def test_the_committed_table_is_todays(rows, monkeypatch, capsys):
    monkeypatch.setattr(address_trace, "known_rows", lambda: rows)
    assert TABLE.exists()
    assert main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_a_row_for_every_kernel(rows):
    text = render(rows)
    assert all(f"| `{row.kernel}` |" in text for row in rows)


def test_a_record_of_other_sources_is_not_used(tmp_path, monkeypatch):
    """A changed kernel, launch or emulator changes the fingerprint; a changed comment in a test does not."""
    for source in (*SOURCES, "tests/benchmarks"):
        shutil.copytree(address_trace.ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
    before = sources_digest(tmp_path)
    assert before == sources_digest()
    for changed in ("cnn/kernels/tail.cu", "cnn/kernels/merge.cuh", "cnn/backends/cuda/tail.py", "cnn/models/plan.py",
                    "tests/cuda_emulator/__init__.py", "benchmarks/address_trace.py"):  # fmt: skip
        text = (tmp_path / changed).read_text()
        (tmp_path / changed).write_text(text + " ")
        assert sources_digest(tmp_path) != before, changed
        (tmp_path / changed).write_text(text)
    (tmp_path / "tests/benchmarks/test_address_trace.py").write_text("")
    assert sources_digest(tmp_path) == before
    monkeypatch.setattr(address_trace, "measure", lambda: ["measured"])
    monkeypatch.setattr(address_trace, "RECORD", tmp_path / "record.json")
    assert known_rows() == ["measured"]
    (tmp_path / "record.json").write_text('{"rows": {"of": "0123456789abcdef", "result": []}}')
    assert known_rows() == ["measured"]


def broken(tmp_path, file, old, new):
    """A copy of the kernels with a fault."""
    folder = tmp_path / "kernels"
    shutil.copytree(FOLDER, folder)
    text = (folder / file).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (folder / file).write_text(text.replace(old, new), encoding="utf-8")
    return folder


def traced_rows(work, **options):
    xp, ops = emulated_ops(**options)
    work(ops)
    return rows_of(xp.trace.lines())


def dense(ops):
    operand = ops.array(np.ones((128, 128), np.float32))
    ops.dense(operand, operand, None)


def test_a_bank_conflict_is_noticed(tmp_path):
    wide = next(variant for variant in variants() if variant.tile.m == variant.tile.n == 128)
    options = {"plan": lambda *_: (wide, 1)}
    assert failures(traced_rows(dense, **options)) == []
    folder = broken(tmp_path, "gemm.cuh", "kPitch = WIDTH + 4;", "kPitch = WIDTH;")
    found = failures(traced_rows(dense, folder=folder, **options))
    assert any("shared store gemm.cuh: 2.00, more than 1" in line for line in found), found


def test_strided_reads_are_noticed(tmp_path):
    def add(ops):
        ops.add(*(ops.array(np.ones(4096, np.float32)) for _ in range(2)))

    assert failures(traced_rows(add)) == []
    right = "blockIdx.x * blockDim.x + threadIdx.x;"
    strided = "blockIdx.x * blockDim.x + threadIdx.x * 2 % blockDim.x + threadIdx.x * 2 / blockDim.x;"
    folder = broken(tmp_path, "elementwise.cuh", right, strided)
    found = failures(traced_rows(add, folder=folder))
    assert any(", load a: 0.50, less than 0.9, at storage.cuh" in line for line in found), found
    assert any(", store y: 0.50, less than 0.9, at storage.cuh" in line for line in found), found
