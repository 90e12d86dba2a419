"""The tuner of tiles, on a device where each kernel takes a planted time."""

import re
from collections import Counter
from types import SimpleNamespace

import pytest

from benchmarks.clock import HostClock
from benchmarks.gpu.tiles import TUNERS, Tuner, render
from benchmarks.kernels.dry_run import DryRun
from cnn.backends.cuda import CudaOps
from cnn.kernels.families.tensor_plan import TensorProduct, estimate
from cnn.kernels.tile_choice import REFERENCE

ADDING = 0.5
REPEATS = 3


def planted(expression: str) -> float:
    """Seconds of a kernel: small tiles are the fastest, but of forward products large ones."""
    if "sum_splits" in expression:
        return ADDING
    sizes = re.findall(r"\b\d+\b", expression)[:2]
    small = 1 / (int(sizes[0]) * int(sizes[1])) if len(sizes) == 2 else 1.0
    return 10 + small if "forward" in expression else 10 - small


class PlantedKernel:
    max_dynamic_shared_size_bytes = 48 << 10

    def __init__(self, expression, device):
        self.expression, self.device = expression, device

    def __call__(self, *given, **options):
        self.device.launched[self.expression] += 1
        self.device.now += planted(self.expression)


class PlantedDevice(DryRun, HostClock):
    """Nothing computes, and each kernel takes its planted time. It is its own clock."""

    def __init__(self):
        DryRun.__init__(self)
        self.device, self.now, self.launched = "planted", 0.0, Counter()

    def RawModule(self, **_):
        return SimpleNamespace(get_function=lambda expression: PlantedKernel(expression, self))

    def mark(self):
        return self.now


@pytest.fixture
def device():
    return PlantedDevice()


def tuned(device, precision, *steps):
    tuner = Tuner(CudaOps(device, graph=False), precision, device, REPEATS)
    for step in steps:
        tuner.tune(*step)
    return tuner


def asked(row) -> TensorProduct:
    return TensorProduct(**row["asked"])


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_every_tile_that_can_compute_a_product_is_timed_in_the_parts_of_the_rule(device, precision):
    rows = tuned(device, precision, ("resnet9", 64)).record()["products"]
    assert {row["function"] for row in rows} == {
        *("tensor_forward", "tensor_backward_input", "tensor_backward_filter"),
    }
    assert any(row["splits"] > 1 for row in rows)
    for row in rows:
        tile, splits = estimate(asked(row), REFERENCE)
        assert (row["rule"], row["splits"]) == (tile.suffix, splits)
        assert set(row["seconds"]) == {tile.suffix for tile in asked(row).candidates(REFERENCE)}
        assert row["sum_seconds"] == (ADDING if splits > 1 else None)


def test_the_fastest_tile_and_what_the_rule_loses(device):
    rows = tuned(device, "bfloat16", ("resnet9", 64)).record()["products"]
    for row in rows:
        size = {suffix: _size(suffix) for suffix in row["seconds"]}
        best = max(size.values()) if row["function"] == "tensor_forward" else min(size.values())
        assert size[row["fastest"]] == best
        assert row["loss"] == pytest.approx(row["seconds"][row["rule"]] / row["seconds"][row["fastest"]] - 1)
    assert any(row["loss"] > 0 for row in rows)


def _size(suffix):
    m, n = re.match(r"(\d+)x(\d+)", suffix).groups()
    return int(m) * int(n)


def test_a_product_of_two_steps_is_timed_once(device):
    tuner = tuned(device, "bfloat16", ("resnet9", 64))
    before, products = device.launched.copy(), len(tuner.products)
    tuner.tune("resnet9", 64)
    assert len(tuner.products) == products
    new = device.launched - before
    record = tuner.record()
    calls = sum(count for _, count in record["steps"][1]["calls"])
    passes = max(len(row["seconds"]) for row in record["products"])
    assert sum(count for name, count in new.items() if name.startswith("tensor_")) == passes * calls
    assert record["steps"][0]["calls"] == record["steps"][1]["calls"]


def test_the_backend_keeps_its_plans(device):
    ops = CudaOps(device, graph=False)
    for precision in TUNERS:
        Tuner(ops, precision, device, 1).tune("lenet", 4)
    assert ops.tensor_plan is estimate
    assert ops.plan is CudaOps(device).plan


def test_the_table_marks_the_rule_and_adds_up_steps(device):
    record = tuned(device, "bfloat16", ("vgg_small", 64)).record()
    facts = {"command": "the command", "provenance": {"started": "now", "versions": {}}, "method": "planted"}
    text = render({**facts, "precisions": {"bfloat16": record}})
    (step,) = record["steps"]
    rows = [record["products"][number] for number, calls in step["calls"] for _ in range(calls)]
    rule, fastest = (sum(row["seconds"][row[key]] for row in rows) for key in ("rule", "fastest"))
    assert f"| bfloat16 | vgg_small | 64 | {1e3 * rule:.3f} | {1e3 * fastest:.3f} | {rule / fastest - 1:.1%} |" in text
    lines = [line for line in text.splitlines() if line.startswith(("| forward", "| backward"))]
    assert len(lines) == len(record["products"])
    assert all(line.count("**") == 2 for line in lines)
