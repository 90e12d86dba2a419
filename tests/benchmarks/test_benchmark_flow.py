"""The whole benchmark, on every backend that there is without a GPU, with clocks whose times are known."""

from __future__ import annotations

import json

import pytest
from idle_cupy import TICK, IdleCupy
from stand_ins import TINY, TickingClock, settings_and_options

from benchmarks.clock import DeviceClock, HostClock, clock_of
from benchmarks.torch_reference import torch_missing
from cnn.backends import get_ops
from cnn.backends.cuda import CudaOps
from cnn.benchmark import run
from cuda_emulator import Emulator, unavailable


def measured(tmp_path, ops, clock, *overrides):
    record = run(*settings_and_options(*overrides), ops, clock, tmp_path, "the command", TINY)
    assert json.loads((tmp_path / "benchmark.json").read_text()) == record
    (cell,) = record["cells"]
    return record, cell, (tmp_path / "benchmark.md").read_text()


def check_cell(cell, text):
    assert (cell["model"], cell["batch"]) == ("lenet", 2)
    assert cell["step"]["seconds"] == pytest.approx(TICK / 2)  # two steps between two marks
    assert cell["step"]["images_per_second"] == pytest.approx(2 * 2 / TICK)
    assert [row["seconds"] for row in cell["kernels"]] == pytest.approx([TICK] * len(cell["kernels"]))
    assert all(row["bytes"] > 0 for row in cell["kernels"])
    assert sum(row["fraction_of_step"] for row in cell["kernels"]) == pytest.approx(1)
    assert cell["kernel_seconds"] == pytest.approx(TICK * cell["kernel_launches"])
    for row in cell["kernels"]:
        assert row["bytes_per_second"] == pytest.approx(row["bytes"] / TICK)
        assert row["times_floor"] == pytest.approx(TICK / row["floor_seconds"])
        assert f"| {row['name']} | {row['shapes']} |" in text


def test_on_the_emulator_every_launch_is_timed(tmp_path):
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    ops = CudaOps(Emulator(), device="emulator")
    assert isinstance(clock_of(ops), HostClock)
    _, cell, text = measured(tmp_path, ops, TickingClock("emulator"))
    check_cell(cell, text)
    names = {row["name"] for row in cell["kernels"]}
    assert {"gather_batch", "cross_entropy", "adam_update", "conv_one_channel_5x5"} <= names
    assert ops.launch.observe is None


def test_on_numpy_every_operation_is_timed(tmp_path):
    _, cell, text = measured(tmp_path, get_ops("numpy", 1), TickingClock("CPU"))
    check_cell(cell, text)
    assert {"gather_batch", "conv2d", "conv2d_backward_filter", "adam_update"} <= {r["name"] for r in cell["kernels"]}
    (first,) = [row for row in cell["kernels"] if row["name"] == "conv2d" and row["arrays"]["x"] == [2, 12, 12, 1]]
    assert (
        first["flops"]
        == 2 * 2 * first["arrays"]["result"][1] * first["arrays"]["result"][2] * 5 * 5 * first["arrays"]["w"][3]
    )


def test_on_a_device_events_tell_the_time_and_the_pool_the_memory(tmp_path):
    ops = CudaOps(IdleCupy(), device="Idle")
    clock = clock_of(ops)
    assert isinstance(clock, DeviceClock)
    record, cell, text = measured(tmp_path, ops, clock)
    check_cell(cell, text)
    # The pool's bytes, less what is read to flush the cache, and those of the captured step's own pool.
    assert 0 < cell["step"]["peak_bytes"] - ((100 << 20) - (64 << 20)) < 1 << 20
    assert record["device"] | {"cuda_driver": "13.0", "cuda_runtime": "12.8", "cupy": "14.2.0"} == record["device"]
    assert "# Benchmark on Idle" in text
    assert "cuda driver 13.0" in text


def test_a_batch_too_large_for_the_device_is_told_in_its_cell(tmp_path, monkeypatch):
    ops = CudaOps(IdleCupy(), device="Idle")
    clock = clock_of(ops)

    def out_of_memory(*_arguments, **_options):
        raise MemoryError("Out of memory allocating 77 bytes")

    monkeypatch.setattr(ops, "conv2d", out_of_memory)
    _, cell, text = measured(tmp_path, ops, clock)
    assert "77 bytes" in cell["error"]
    assert "does not fit into memory" in text


def test_kernels_can_be_left_out(tmp_path):
    _, cell, text = measured(tmp_path, get_ops("numpy", 1), TickingClock("CPU"), "benchmark.kernels=false")
    assert "kernels" not in cell
    assert "Parts of a step" not in text


@pytest.mark.skipif(bool(torch_missing()), reason="PyTorch is not installed")
def test_pytorch_without_the_device_costs_only_its_own_rows(tmp_path):
    import torch  # noqa: PLC0415

    if torch.cuda.is_available():
        pytest.skip("PyTorch has a device here")
    ops = CudaOps(IdleCupy(), device="Idle")
    _, cell, text = measured(tmp_path, ops, clock_of(ops), "benchmark.torch=eager")
    assert all(row["error"] for row in cell["torch"]["modes"])
    assert "not compared" in text
    assert cell["step"]["images_per_second"] > 0
