from __future__ import annotations

import pytest

from benchmarks.kernel_floors import BATCH, CLASSES, H200, INPUT, MODELS, TABLE, launches_of, main, rows, step_floor
from benchmarks.kernels.launches import product_flops
from benchmarks.models import model_config
from cnn.backends import get_ops
from cnn.models import build_model

FORWARD = ("conv_forward", "conv_one_channel_3x3", "dense_forward")


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def counts(model):
    return launches_of(model, BATCH)


def macs(model):
    nodes = build_model(model_config(model), get_ops("numpy"), INPUT, CLASSES, seed=0).graph.nodes
    macs = [node.layer.macs(node.input_shape) for node in nodes]
    return sum(macs), macs[0]


def test_every_launch_moves_bytes(counts):
    assert [work.name for work in counts if work.moved <= 0] == []


def test_products_do_the_operations_that_the_summary_counts(model, counts):
    """Forward, the filters' gradient, and the input's gradient but for the first layer's, which nobody reads."""
    whole, first = macs(model)
    filters = ("conv_backward_filter", "conv_one_channel_backward_filter", "dense_backward_filter")
    assert product_flops(counts, FORWARD) == 2 * whole * BATCH
    assert product_flops(counts, filters) == 2 * whole * BATCH
    assert product_flops(counts, ("conv_backward_input", "dense_backward_input")) == 2 * (whole - first) * BATCH


def test_a_step_takes_at_least_what_its_products_take(model, counts):
    whole, first = macs(model)
    floor = step_floor(counts, H200)
    assert floor > 2 * (3 * whole - first) * BATCH / H200.arithmetic * 0.99
    assert sum(float(row[7].removesuffix(" %")) for row in rows(counts, H200)) == pytest.approx(100, abs=5)


def test_the_committed_table_lists_the_launches_of_todays_code(capsys):
    assert TABLE.exists()
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_other_ceilings_and_models(capsys):
    assert main(["--model", "lenet", "--batch", "8", "--bandwidth", "1"]) == 0
    assert "lenet, batch 8" in capsys.readouterr().out
    assert main(["--model", "alexnet"]) == 2
    assert "alexnet" in capsys.readouterr().err
