"""The tuner of tiles, on a device where each kernel takes a planted time."""

import functools
import json
import re
from collections import Counter
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.clock import HostClock
from benchmarks.gpu.tile_costs import Times, fit
from benchmarks.gpu.tiles import TUNERS, Tuner, main, render
from benchmarks.gpu.tiles import kept as kept_tiles
from benchmarks.kernels.dry_run import DryRun
from cnn.backends.cuda import CudaOps
from cnn.backends.cuda.measured_tiles import MeasuredTiles, device_key
from cnn.kernels.families.tensor_plan import TensorProduct, estimate
from cnn.kernels.tile_choice import BFLOAT16, REFERENCE, Costs, Product

REPEATS = 3


def planted(expression: str) -> float:
    """Seconds of a kernel: small tiles are the fastest, but of forward products large ones."""
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


@pytest.fixture(scope="module")
def records():
    """What was measured of a step, by model and precision."""

    @functools.cache
    def record(model, precision="bfloat16"):
        return tuned(PlantedDevice(), precision, (model, 64)).record()

    return record


def tuned(device, precision, *steps):
    tuner = Tuner(CudaOps(device, graph=False), precision, device, REPEATS)
    for step in steps:
        tuner.tune(*step)
    return tuner


def size(suffix):
    m, n = re.match(r"(\d+)x(\d+)", suffix).groups()
    return int(m) * int(n)


def asked(row) -> TensorProduct:
    return TensorProduct(**row["asked"])


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_every_tile_that_can_compute_a_product_is_timed_in_the_parts_of_the_rule(records, precision):
    rows = records("vgg_small", precision)["products"]
    assert {row["function"] for row in rows} == {
        *("tensor_forward", "tensor_backward_input", "tensor_backward_filter"),
    }
    assert {row["splits"] > 1 for row in rows} == {True, False}
    for row in rows:
        tile, splits = estimate(asked(row), REFERENCE)
        assert (row["rule"], row["splits"]) == (tile.suffix, splits)
        assert set(row["seconds"]) == {tile.suffix for tile in asked(row).candidates(REFERENCE)}
        assert Product(**row["product"]) == asked(row).product


def test_the_fastest_tile_and_what_the_rule_loses(records):
    rows = records("vgg_small")["products"]
    for row in rows:
        times = row["seconds"]
        best = (max if row["function"] == "tensor_forward" else min)(map(size, times))
        assert size(row["fastest"]) == best
        assert row["loss"] == pytest.approx(times[row["rule"]] / times[row["fastest"]] - 1)
    assert any(row["loss"] > 0 for row in rows)


def test_the_rules_tile_is_also_timed_in_fewer_and_in_more_parts(records):
    rows = records("vgg_small")["products"]
    for row in rows:
        others = [each["splits"] for each in row["other_parts"]]
        assert all(2 * number <= row["splits"] or 2 * row["splits"] <= number for number in others)
        most = asked(row).product.steps(32) // 2
        assert min(others) >= 1
        assert max(others) <= most
        for each in row["other_parts"]:
            assert each["seconds"] == pytest.approx(row["seconds"][row["rule"]])
    assert {len(row["other_parts"]) for row in rows} == {1, 2}


def test_a_product_of_two_steps_is_timed_once(device):
    tuner = tuned(device, "bfloat16", ("resnet9", 64))
    before, products = device.launched.copy(), len(tuner.products)
    tuner.tune("resnet9", 64)
    assert len(tuner.products) == products
    new = device.launched - before
    record = tuner.record()
    calls = sum(count for _, count in record["steps"][1]["calls"])
    passes = max(len(row["seconds"]) + len(row["other_parts"]) for row in record["products"])
    assert sum(count for name, count in new.items() if name.startswith("tensor_")) == passes * calls
    assert record["steps"][0]["calls"] == record["steps"][1]["calls"]


def test_the_backend_keeps_its_plans(device):
    ops = CudaOps(device, graph=False)
    for precision in TUNERS:
        Tuner(ops, precision, device, 1).tune("lenet", 4)
    assert ops.tensor_plan is estimate
    assert ops.plan is CudaOps(device).plan


def test_the_table_marks_the_rule_and_adds_up_steps(records):
    record = records("vgg_small")
    text = render(of_run(bfloat16=record))
    (step,) = record["steps"]
    rows = [record["products"][number] for number, calls in step["calls"] for _ in range(calls)]
    rule, fastest = (sum(row["seconds"][row[key]] for row in rows) for key in ("rule", "fastest"))
    assert f"| bfloat16 | vgg_small | 64 | {1e3 * rule:.3f} | {1e3 * fastest:.3f} | {rule / fastest - 1:.1%} |" in text
    lines = [line for line in text.splitlines() if line.startswith(("| forward", "| backward"))]
    assert len(lines) == len(record["products"])
    assert all(line.count("**") == 4 for line in lines)


def of_run(**precisions):
    """The contents of tiles.json."""
    return {
        **{"command": "the command", "method": "planted", "device": {"name": "planted"}},
        **{"provenance": {"started": "now", "versions": {}}, "limits": asdict(REFERENCE), "precisions": precisions},
    }


def test_the_backend_takes_the_tiles_that_are_kept(records, tmp_path, capsys):
    measured, kept = tmp_path / "tiles.json", tmp_path / "kept.json"
    records_of = {precision: records("vgg_small", precision) for precision in ("bfloat16", "tf32")}
    measured.write_text(json.dumps(of_run(**records_of)))
    assert main(["--keep", str(measured)], kept) == 0
    plan, rows = MeasuredTiles(kept), [row for record in records_of.values() for row in record["products"]]
    assert capsys.readouterr().out == f"kept.json: {len(rows)} products\n"
    for row in rows:
        tile, splits = plan(asked(row), REFERENCE)
        assert tile.suffix == row["fastest"]
        assert splits == estimate(asked(row), REFERENCE)[1]
        elsewhere = replace(REFERENCE, multiprocessors=108)
        assert plan(asked(row), elsewhere) == estimate(asked(row), elsewhere)
    assert any(row["fastest"] != row["rule"] for row in rows)


def test_of_products_that_the_plan_cannot_tell_apart_the_tile_is_the_fastest_together(tmp_path):
    product = TensorProduct("tensor_forward", "bfloat16", 4096, 128, 64, 9)
    row = {"asked": asdict(product)}
    first, second = (
        {"128x64x64_bf16": 1.0, "64x64x64_any_bf16": 2.0},
        {"128x64x64_bf16": 5.0, "64x64x64_any_bf16": 3.0},
    )
    products = [{**row, "seconds": first}, {**row, "seconds": second}]
    record = of_run(bfloat16={"products": products, "steps": []})
    (entry,) = kept_tiles(record, {}).values()
    assert list(entry["tiles"].values()) == ["64x64x64_any_bf16"]


def test_other_devices_keep_their_tiles(records):
    before = {"capability 80, 108 multiprocessors": {"tiles": {"a": "b"}}, device_key(REFERENCE): {"tiles": {"c": "d"}}}
    after = kept_tiles(of_run(bfloat16=records("vgg_small")), before)
    assert after["capability 80, 108 multiprocessors"] == {"tiles": {"a": "b"}}
    assert "c" not in after[device_key(REFERENCE)]["tiles"]


@pytest.mark.parametrize("text", ["{", "[]", '{"products": []}'])
def test_another_file_is_refused(tmp_path, capsys, text):
    other = tmp_path / "other.json"
    other.write_text(text)
    for option in ("--keep", "--fit"):
        assert main([option, str(other)], tmp_path / "kept.json") == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert "other.json" in error
        assert error.count("\n") == 1
    assert not (tmp_path / "kept.json").exists()


TRUE = Costs(copy=4, start=2e5, part=100, launch=2e5)  # far from those that are used


def by_estimate(record, costs, unit=1e-13, noise=0.0):
    """The record with times as the estimate has them with other constants."""
    random, planted_times = np.random.default_rng(0), json.loads(json.dumps(record))
    for row in planted_times["products"]:
        product = asked(row)
        tiles = {tile.suffix: tile for tile in product.candidates(REFERENCE)}

        def taken(tile, splits, product=product, tiles=tiles):
            return unit * product.product.time(tiles[tile], splits, costs) * np.exp(noise * random.normal())

        row["seconds"] = {tile: taken(tile, row["splits"]) for tile in row["seconds"]}
        for each in row["other_parts"]:
            # In runs up to 2026-11-26 a launch of its own added the parts.
            each.update(seconds=0.75 * (total := taken(row["rule"], each["splits"])), sum_seconds=0.25 * total)
    return planted_times


def test_a_fit_finds_the_constants_that_made_the_times(records):
    times = Times.of(by_estimate(records("vgg_small"), TRUE), REFERENCE)
    found = fit(times, BFLOAT16)
    assert times.losses(found).max() == 0
    for name, value in asdict(TRUE).items():
        assert getattr(found, name) == pytest.approx(value, rel=0.05), name
    assert times.losses(BFLOAT16).max() > 0


def test_a_fit_to_noisy_times_loses_less_than_what_it_began_with(records, tmp_path, capsys):
    record = by_estimate(records("vgg_small"), TRUE, noise=0.1)
    times = Times.of(record, REFERENCE)
    assert times.losses(fit(times, BFLOAT16)).mean() < times.losses(BFLOAT16).mean()
    file = tmp_path / "tiles.json"
    file.write_text(json.dumps(of_run(bfloat16=record)))
    assert main(["--fit", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"bfloat16: {fit(times, BFLOAT16)}\n")
    assert f"now {times.losses(BFLOAT16).mean():.1%}, fitted {times.losses(fit(times, BFLOAT16)).mean():.1%}" in out
