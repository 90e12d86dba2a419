"""The comparison with PyTorch on a CPU: what it compares, refuses and writes. No test looks at a duration."""

from __future__ import annotations

import importlib.util
import json
import os

import numpy as np
import pytest

from benchmarks import cpu_vs_torch
from benchmarks.cpu import memory
from benchmarks.cpu.cells import Cell
from benchmarks.cpu.plots import draw_breakdown, draw_sweep, merged
from benchmarks.cpu.processes import OURS, processes, time_layers, time_sides
from benchmarks.models import without_dropout
from benchmarks.torch_comparison import TOLERANCE, checked_batch, differences, gradients_apart, largest
from benchmarks.torch_reference import LAYOUTS, TorchReference
from benchmarks.workload import standardized
from cnn.backends import get_ops
from foundation.errors import UserError
from foundation.extras import install_command

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch (the extra `bench`) is not installed"
)
PNG = b"\x89PNG"


def timed(milliseconds, peak=100, steady=80):
    return {
        "median_ms": milliseconds,
        "peak_bytes": peak,
        "steady_peak_bytes": steady,
        "data_peak_bytes": steady,
    }


def measured_cell(**changes):
    loss = {"loss": {"forward": 0.1, "backward": 0.0}}
    ours = {"conv2d_1 + relu_1": {"forward": 2.0, "backward": 4.0}, **loss}
    theirs = {
        "conv2d_1": {"forward": 2.0, "backward": 4.0},
        "relu_1": {"forward": 0.5, "backward": 0.25},
        **loss,
    }
    sides = {
        OURS: {"train": timed(30.0), "infer": timed(6.0, None, None)},
        "contiguous": {"train": timed(20.0, 150), "infer": timed(12.0)},
        "channels_last": {"train": timed(25.0, 50), "infer": timed(8.0)},
    }
    cell = {"model": "baseline", "batch": 16, "threads": 2, "side": 48, "width": 1.0, **cpu_vs_torch.summary(sides)}
    sides.pop(OURS)
    return cell | {"layers": {OURS: ours, **dict.fromkeys(LAYOUTS, theirs)}, "torch": sides} | changes


# --- without PyTorch -------------------------------------------------------------------------------------------------


def test_ratios_are_ours_over_the_better_of_both_formats_figure_by_figure():
    cell = measured_cell()
    assert (cell["train_ratio"], cell["torch_train_layout"]) == (1.5, "contiguous")
    assert (cell["infer_ratio"], cell["torch_infer_layout"]) == (0.75, "channels_last")
    assert (cell["memory_ratio"], cell["steady_memory_ratio"]) == (2.0, 1.0)
    assert cell["infer_memory_ratio"] is None  # nobody counted


def test_the_grid_is_every_model_batch_and_thread(monkeypatch):
    monkeypatch.setattr(cpu_vs_torch, "available_cores", lambda: 2)
    cells = cpu_vs_torch._arguments([]).cells
    assert len(cells) == len(set(cells)) == 3 * 4 * 2
    assert cpu_vs_torch._arguments(["--model", "lenet", "--batch", "3", "--threads", "1"]).cells == [
        Cell("lenet", 3, 1)
    ]


def test_a_sweep_changes_one_thing():
    for over in cpu_vs_torch.SWEEPS:
        cells = cpu_vs_torch._arguments(["--sweep", over, "--threads", "1", "--plot", "x.png"]).cells
        others = {
            (c.model, c.threads, *(getattr(c, key) for key in ("batch", "side", "width") if key != over)) for c in cells
        }
        assert len(others) == 1
        assert len({getattr(cell, over) for cell in cells}) == len(cells)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--rounds", "-1"],
        ["--batch", "0"],
        ["--breakdown", "x.png"],
        ["--sweep", "batch"],
        ["--sweep", "batch", "--batch", "3", "--json", "x.json"],
        ["--sweep", "side", "--model", "lenet", "baseline", "--json", "x.json"],
        ["--plot", "x.png"],
    ],
)
def test_arguments_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cpu_vs_torch.main(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_without_pytorch_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert cpu_vs_torch.main(["--model", "lenet", "--batch", "2", "--threads", "1"]) == 2
    assert capsys.readouterr().err.splitlines() == [f"error: PyTorch is not installed here: {install_command('bench')}"]


def test_more_threads_than_cores_are_refused():
    with pytest.raises(UserError, match="would share a core"):
        cpu_vs_torch.Bench(1).cell(Cell("lenet", 2, 4096))


def test_a_width_scales_every_width_of_the_model():
    plain, wide = (Cell("baseline", 2, 1, 48, width).build(get_ops("numpy")).state() for width in (1, 2))
    for name, values in plain.items():
        ends = values.shape[-1]
        assert wide[name].shape[-1] == (ends if name.startswith("dense_3") else 2 * ends)


def test_every_process_draws_the_same_weights_and_data():
    one, two = Cell("lenet", 4, 1), Cell("lenet", 4, 1)
    for first, second in zip(one.data(), two.data(), strict=True):
        np.testing.assert_array_equal(first, second)
    weights = [cell.build(get_ops("cpu", 1)).state() for cell in (one, two)]
    for name, values in weights[0].items():
        np.testing.assert_array_equal(values, weights[1][name])


def test_gradients_apart_names_the_worst_and_forgives_pure_rounding():
    theirs = {"a": np.array([3.0, 4.0]), "b": np.array([1e-9])}
    ours = {"a": np.array([3.0, 4.005]), "b": np.array([-1e-9])}
    found = gradients_apart(ours, theirs)
    assert found["worst"] == "a"
    assert found["gradients"] == pytest.approx(1e-3)


def test_the_largest_difference_is_found_in_any_format_and_nan_is_largest():
    fine = {"logits": 1e-7, "worst_gradient": 1e-6, "worst": "w", "pytorch_float32": 1.0}
    assert largest({"contiguous": fine, "channels_last": fine | {"worst_gradient": 2.0}}) == (
        2.0,
        "worst gradient w, channels_last",
    )
    assert np.isnan(largest({"contiguous": fine | {"logits": float("nan")}})[0])


def test_a_difference_over_the_tolerance_is_not_timed(monkeypatch, capsys):
    bench = cpu_vs_torch.Bench(1)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(cpu_vs_torch, "time_sides", lambda *_: pytest.fail("it timed"))

    class Different:
        def ask(self, *_, **__):
            return {"contiguous": {"logits": 2 * TOLERANCE, "worst": "w"}}

    class Processes:
        def __init__(self, *_): ...
        def __enter__(self):
            return {"check": Different()}

        def __exit__(self, *_): ...

    monkeypatch.setattr(cpu_vs_torch, "processes", Processes)
    with pytest.raises(cpu_vs_torch.DifferenceError, match="logits"):
        bench.cell(Cell("lenet", 2, 1))
    assert cpu_vs_torch.main(["--model", "lenet", "--batch", "2", "--threads", "1"]) == 1
    assert "nothing is timed" in capsys.readouterr().err


def test_plots(tmp_path):
    cell = measured_cell()
    rows = merged(cell["layers"][OURS], cell["layers"]["contiguous"])
    assert rows == {"conv2d_1 + relu_1": ((2.0, 4.0), (2.5, 4.25)), "loss": ((0.1, 0.0), (0.1, 0.0))}
    draw_breakdown(tmp_path / "layers.png", cell)
    draw_sweep(tmp_path / "sweep.png", "batch", [cell, measured_cell(batch=32), {"batch": 64, "error": "no"}])
    for name in ("layers", "sweep"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(PNG)


def test_tables_hold_cells_that_failed():
    table = cpu_vs_torch.overview([measured_cell(), {"model": "lenet", "batch": 1, "threads": 1, "error": "too big"}])
    assert table.row_count == 2
    assert cpu_vs_torch.breakdown_table(measured_cell()).row_count == 3


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="peaks are counted on Linux")
def test_a_peak_holds_what_was_freed_and_can_be_forgotten():
    before = memory.resident()
    held = np.ones(1 << 24)
    del held
    assert memory.peak() >= before + (100 << 20)
    if memory.forget_peak():
        assert memory.peak() < before + (100 << 20)


def test_our_side_alone_answers_in_a_process_of_its_own():
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with processes([OURS], Cell("lenet", 2, 1, side=24)) as workers:
        timed = time_sides(workers, "train", rounds=2)
        layers = time_layers(workers, timed, rounds=1)
        with pytest.raises(UserError, match="ended with status"):
            workers[OURS].ask("nothing of the kind")
    assert len(timed[OURS]["seconds"]) == 2
    assert {"loss", "update", "rest"} <= set(layers[OURS])
    names = [name for block in layers[OURS] for name in block.split(" + ")]
    assert {"conv2d_1", "dense_3"} <= set(names)
    assert len(names) == len(set(names))
    if allowed is not None:
        assert workers[OURS].about["cores"] == sorted(allowed)[-1:]
        assert os.sched_getaffinity(0) == allowed


# --- with PyTorch ----------------------------------------------------------------------------------------------------


def compared(cell, layout):
    model = cell.build(get_ops("cpu", 1), without_dropout(cell.config()))
    images, labels = cell.data(checked_batch(cell.batch))
    return differences(cell.options(), model, images, labels, layout=layout, inferred=cell.data()[0])


@needs_torch
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", ["lenet", "baseline", "resnet9", "vgg_small"])
def test_both_compute_the_same(model, layout):
    found = compared(Cell(model, 3, 1, side=24, width=0.25), layout)
    assert largest({layout: found})[0] <= TOLERANCE
    assert found["pytorch_float32"] <= 1e-2


@needs_torch
def test_the_check_notices_a_wrong_gradient(monkeypatch):
    from cnn.backends.cpu import CpuOps  # noqa: PLC0415

    def wrong(self, dy, out=None):
        out = right(self, dy, out)
        out *= np.float32(1.001)
        return out

    right = CpuOps.bias_backward
    monkeypatch.setattr(CpuOps, "bias_backward", wrong)
    found = compared(Cell("lenet", 4, 1, side=24), "contiguous")
    assert found["worst_gradient"] > TOLERANCE
    assert found["worst"].endswith(".bias")


@needs_torch
@pytest.mark.parametrize("layout", LAYOUTS)
def test_images_lie_in_memory_as_the_format_says(layout):
    cell = Cell("baseline", 2, 1)
    reference = TorchReference(cell.build(get_ops("cpu", 1), without_dropout(cell.config())), layout=layout)
    seen = []
    for module in reference.modules.values():
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    reference.module(reference.images(standardized(cell.data()[0])))
    images = [each for each in seen if each.dim() == 4]
    assert images
    for each in images:
        assert each.is_contiguous() == (layout == "contiguous")


@needs_torch
def test_every_layer_has_its_module():
    for model in ("baseline", "resnet9", "vgg_small"):
        built = Cell(model, 2, 1).build(get_ops("cpu", 1))
        for layout in LAYOUTS:
            reference = TorchReference(built, layout=layout)
            assert list(reference.modules) == [node.name for node in built.graph.nodes]
            assert set(reference.modules.values()) <= set(reference.module.modules())
            assert {tensor.numel() for tensor in reference.tensors.values()} == {
                tensor.numel() for tensor in reference.module.parameters()
            }


@needs_torch
@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 2])
def test_one_cell_from_the_command_to_its_files(batch, tmp_path, capsys):
    arguments = ["--model", "lenet", "--batch", str(batch), "--threads", "1", "--rounds", "1"]
    files = ["--json", str(tmp_path / "cell.json"), "--breakdown", str(tmp_path / "cell.png")]
    assert cpu_vs_torch.main([*arguments, *files]) == 0
    record = json.loads((tmp_path / "cell.json").read_text())
    for key in ("train_ratio", "infer_ratio", "memory_ratio", "ours_train_ms", "torch_train_ms"):
        assert record[key] > 0
    assert (record["rounds"], len(record["cells"])) == (1, 1)
    assert record["workers"]["contiguous"]["versions"]["torch"]
    ours = {name for block in record["layers"][OURS] for name in block.split(" + ")}
    assert set(record["layers"]["channels_last"]) == ours
    assert (tmp_path / "cell.png").read_bytes().startswith(PNG)
    assert "lenet" in capsys.readouterr().out
