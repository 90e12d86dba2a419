"""Tiles that were measured: which products take them, that sums stay as they are, and files that are damaged."""

import json

import numpy as np
import pytest

from backends.emulated import new_emulated_ops
from benchmarks.kernels.dry_run import DryRun
from cnn.backends import get_ops, gpu_missing
from cnn.backends.cuda import CudaOps
from cnn.backends.cuda.measured_tiles import FILE, MeasuredTiles, device_key, product_key, product_of, read_tiles
from cnn.backends.window import Window
from cnn.kernels.families.tensor_plan import BACKWARD_FILTER, BACKWARD_INPUT, FORWARD, TensorProduct, estimate
from cnn.kernels.tile_choice import REFERENCE, Device
from cuda_emulator import unavailable
from foundation.errors import UserError

WINDOW = Window.over((6, 5), 3, padding="same")
N, C, K = 4, 128, 128
PRODUCTS = [
    TensorProduct(FORWARD, "bfloat16", N * 30, K, C, 9),
    TensorProduct(BACKWARD_INPUT, "bfloat16", N * 30, C, K, 9),
    TensorProduct(BACKWARD_FILTER, "bfloat16", N * 30, K, C, 9),
]
OTHER = TensorProduct(FORWARD, "bfloat16", N * 31, K, C, 9)


def written(path, tiles, device=REFERENCE):
    entries = {key if isinstance(key, str) else product_key(key): tile for key, tile in tiles.items()}
    path.write_text(json.dumps({device_key(device): {"device": "planted", "tiles": entries}}))
    return path


def others_of(product, device=REFERENCE):
    chosen, _ = estimate(product, device)
    return [tile for tile in product.candidates(device) if tile != chosen]


def passes(ops):
    """The three products of a layer, with values that do not add up exactly."""
    rng = np.random.default_rng(0)
    x, w, dy = (
        ops.stored(ops.array(rng.standard_normal(shape).astype(np.float32)), "bfloat16")
        for shape in ((N, 6, 5, C), (3, 3, C, K), (N, 6, 5, K))
    )
    results = (
        ops.conv2d(x, w, None, WINDOW, 1),
        ops.conv2d_backward_input(dy, w, WINDOW, 1),
        ops.conv2d_backward_filter(dy, x, WINDOW, 1),
    )
    return [ops.to_numpy(result) for result in results]


def test_a_measured_product_takes_its_tile_and_others_the_estimates(tmp_path):
    tiles = {product: others_of(product)[0] for product in PRODUCTS}
    plan = MeasuredTiles(written(tmp_path / "tiles.json", {product: tile.suffix for product, tile in tiles.items()}))
    ops = CudaOps(DryRun(), tensor_plan=plan)
    launched = []
    ops.launch.observe = lambda kernel, arguments: launched.append(kernel.name)
    passes(ops)
    assert [name for name in launched if name.startswith("tensor_")] == [
        f"{product.function}_{tile.suffix}" for product, tile in tiles.items()
    ]
    for product, tile in tiles.items():
        assert plan(product, REFERENCE) == (tile, estimate(product, REFERENCE)[1])
    assert plan(OTHER, REFERENCE) == estimate(OTHER, REFERENCE)
    for device in (Device(108, 80, 163 << 10), Device(132, 100, 227 << 10)):
        assert plan(PRODUCTS[0], device) == estimate(PRODUCTS[0], device)


def test_without_the_file_all_is_by_the_estimate(tmp_path):
    plan = MeasuredTiles(tmp_path / "missing.json")
    assert [plan(product, REFERENCE) for product in PRODUCTS] == [estimate(product, REFERENCE) for product in PRODUCTS]


@pytest.mark.parametrize("where", ["emulator", pytest.param("cupy", marks=pytest.mark.gpu)])
def test_no_tile_changes_a_bit(where, tmp_path, monkeypatch):
    """Of a product whose sum is not cut, and of one whose sum is."""
    if reason := unavailable() if where == "emulator" else gpu_missing():
        pytest.skip(reason)
    ops = new_emulated_ops("fast") if where == "emulator" else get_ops("cupy")
    monkeypatch.setattr(ops, "tensor_plan", estimate)
    expected, counted = passes(ops), 0
    for number in range(max(len(others_of(product, ops.limits)) for product in PRODUCTS)):
        others = {product: others_of(product, ops.limits)[number:][:1] for product in PRODUCTS}
        tiles = {product: tile.suffix for product, found in others.items() for tile in found}
        path = written(tmp_path / f"{number}.json", tiles, ops.limits)
        monkeypatch.setattr(ops, "tensor_plan", MeasuredTiles(path))
        for actual, wanted in zip(passes(ops), expected, strict=True):
            np.testing.assert_array_equal(actual, wanted, str(tiles))
        counted += len(tiles)
    assert counted > len(PRODUCTS)
    assert estimate(PRODUCTS[2], ops.limits)[1] == 1 < estimate(PRODUCTS[0], ops.limits)[1]


def test_keys_are_of_one_product_each():
    for product in (*PRODUCTS, OTHER, TensorProduct(BACKWARD_INPUT, "float", 1, 2, 3, 4, may_split=False)):
        assert product_of(product_key(product)) == product
    assert len({product_key(product) for product in (*PRODUCTS, OTHER)}) == 4


@pytest.mark.parametrize(
    ("tiles", "message"),
    [
        ({PRODUCTS[0]: "512x512x64_bf16"}, "has 512x512x64_bf16 for 'tensor_forward bfloat16 120 128 128 9 True'"),
        ({TensorProduct(FORWARD, "bfloat16", 64, 40, 64, 9): "128x128x64_bf16"}, "cannot compute"),
        ({PRODUCTS[0]: None}, "has None for"),
        ({PRODUCTS[0]: ["128x128x64_bf16"]}, "cannot compute"),
        ({"tensor_forward bfloat16 120 128 128 9": "128x128x64_bf16"}, "no product 'tensor_forward bfloat16 120 128"),
        ({"tensor_forward bfloat16 many 128 128 9 True": "128x128x64_bf16"}, "no product"),
        ({"": "128x128x64_bf16"}, "no product ''"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, tiles, message):
    path = written(tmp_path / "tiles.json", tiles)
    with pytest.raises(UserError, match=message) as caught:
        MeasuredTiles(path)(PRODUCTS[0], REFERENCE)
    assert "\n" not in str(caught.value)
    assert f"or remove it: {path}" in str(caught.value)
    elsewhere = Device(108, 80, 163 << 10)
    assert MeasuredTiles(path)(PRODUCTS[0], elsewhere) == estimate(PRODUCTS[0], elsewhere)


@pytest.mark.parametrize(
    "text", ["", "[", "[]", "3", f'{{"{device_key(REFERENCE)}": []}}', f'{{"{device_key(REFERENCE)}": {{"tiles": 3}}}}']
)
def test_a_damaged_file_is_named(tmp_path, text):
    path = tmp_path / "tiles.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"tiles\.json") as caught:
        MeasuredTiles(path)(PRODUCTS[0], REFERENCE)
    assert "\n" not in str(caught.value)


def test_a_tile_of_a_device_that_lacks_its_shared_memory_is_refused(tmp_path):
    small = Device(20, 90, 99 << 10)
    path = written(tmp_path / "tiles.json", {PRODUCTS[0]: "256x128x64_bf16"}, small)
    with pytest.raises(UserError, match="cannot compute"):
        MeasuredTiles(path)(PRODUCTS[0], small)


def test_the_committed_file_is_valid():
    """Also for the tiles that there are today; without the file, estimates alone are used."""
    committed = json.loads(FILE.read_text()) if FILE.exists() else {}
    for key, entry in committed.items():
        capability, multiprocessors = (int(word) for word in key.replace(",", "").split() if word.isdigit())
        device = Device(multiprocessors, capability, REFERENCE.shared)
        assert device_key(device) == key
        assert len(read_tiles(FILE, device)) == len(entry["tiles"]) > 0
