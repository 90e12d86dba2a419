"""Which tile computes a product, and in how many parts: against plain counting, and what must not change sums."""

import itertools
from dataclasses import replace

import pytest

from benchmarks.kernels.occupancy import LIMITS
from cnn.kernels.families.gemm_rules import TILES, choose
from cnn.kernels.families.tensor_rules import GATHER_TILES, WGRAD_TILES, choose_gather, choose_wgrad, gather_step
from cnn.kernels.tile_choice import BFLOAT16, FLOAT32, REFERENCE, TF32, Device, Product, best_splits, best_tile

# Shapes large and small, odd and even: rows, columns, k.
SHAPES = [
    (147_456, 128, 576),
    (576, 128, 147_456),
    (64, 256, 9216),
    (1, 1, 1),
    (10, 7, 129),
    (300, 33, 4000),
    (2304, 512, 4608),
]
DEVICES = [Device(72, 75, 64 << 10), Device(108, 80, 163 << 10), Device(40, 89, 99 << 10), Device(188, 120, 99 << 10)]


@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
@pytest.mark.parametrize("tile", [TILES[0], GATHER_TILES[2]])
@pytest.mark.parametrize("splits", [1, 3])
def test_efficiency_by_dealing_out_the_blocks(rows, columns, k, tile, splits):
    """Blocks go to the multiprocessors in turn; each takes whole tiles, and whole steps of its part of k."""
    busy = [0] * REFERENCE.multiprocessors
    steps = -(-k // tile.k)
    own_steps = -(-steps // splits)
    turns = itertools.cycle(range(len(busy)))
    for _ in itertools.product(range(0, rows, tile.m), range(0, columns, tile.n), range(splits)):
        busy[next(turns)] += tile.m * tile.n * own_steps * tile.k
    expected = rows * columns * k / (len(busy) * max(busy))
    assert Product(rows, columns, k).efficiency(tile, splits) == pytest.approx(expected)


def test_pieces_of_a_sum_take_whole_steps_each():
    tile = next(tile for tile in GATHER_TILES if tile.k == 64)
    whole, taps = Product(128, 128, 9 * 40), Product(128, 128, 9 * 40, pieces=9)
    assert (whole.steps(64), taps.steps(64), Product(128, 128, 0, pieces=0).steps(64)) == (6, 9, 0)
    assert taps.efficiency(tile, 1) == pytest.approx(whole.efficiency(tile, 1) * 6 / 9)


@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
def test_parts_do_not_depend_on_the_device(rows, columns, k):
    for vector in (True, False):
        assert len({choose(rows, columns, k, 1, vector, device)[1] for device in [REFERENCE, *DEVICES]}) == 1
    modern = [REFERENCE, *DEVICES[1:]]
    eight = [8 * -(-size // 8) for size in (columns, k)]
    assert len({choose_gather(rows, *eight, 9, device)[1] for device in modern}) == 1
    assert len({choose_wgrad(9, *eight, rows, device)[1] for device in modern}) == 1


@pytest.mark.parametrize(("rows", "columns", "k"), SHAPES)
def test_no_part_is_empty(rows, columns, k):
    for tiles, costs in ((TILES, FLOAT32), (WGRAD_TILES[:7], BFLOAT16), (WGRAD_TILES[7:], TF32)):
        product, step = Product(rows, columns, k), tiles[0].k
        splits = best_splits(product, tiles, 4, costs)
        assert (splits - 1) * product.length(step, splits) < max(k, 1)
        assert splits == 1 or product.length(step, splits) >= 4 * step


def test_tiles_of_one_sum_have_one_step():
    """Or the tile would decide where a sum is cut."""
    assert {tile.k for tile in TILES} == {16}
    assert {(tile.element, tile.k) for tile in WGRAD_TILES} == {("bfloat16", 64), ("float", 32)}
    for c in range(8, 300, 8):
        step = gather_step(c)
        assert -(-c // step) * step == min(-(-c // 32) * 32, -(-c // 64) * 64)
        assert gather_step(c, "float") == 32


@pytest.mark.parametrize("architecture", [each for each in LIMITS if each >= 80])
def test_a_device_gets_only_tiles_that_run_on_it(architecture):
    most = LIMITS[architecture].shared - LIMITS[architecture].shared_reserved
    for multiprocessors, rows, c, n in itertools.product((20, 132), (100, 10**6), (32, 64, 104, 512), (8, 64, 256)):
        device = Device(multiprocessors, architecture, min(most, 227 << 10))
        for element in ("bfloat16", "float"):
            gather = choose_gather(rows, n, c, 9, device, element=element)[0]
            for tile in (gather, choose_wgrad(9, c, n, rows, device, element)[0]):
                assert tile.element == element
                assert tile.gather_bytes <= most
                assert tile.min_arch <= architecture
                assert tile.target in ("", f"{architecture}a")


def test_full_tiles_are_asked_for_only_where_they_fit():
    for c, n in itertools.product((8, 40, 64, 96, 128, 512), (8, 64, 72, 128, 256)):
        gather, wgrad = choose_gather(10**6, n, c, 9, REFERENCE)[0], choose_wgrad(9, c, n, 10**6, REFERENCE)[0]
        assert not gather.fits or (c % gather.k == 0 and n % gather.n == 0)
        # By warpgroups each 64 rows are of one tap.
        assert not wgrad.fits or (c % (64 if wgrad.warpgroups else wgrad.m) == 0 and n % wgrad.n == 0)


def test_large_products_take_large_tiles_and_narrow_ones_narrow_tiles():
    assert choose(10**6, 128, 1152, 1, True, REFERENCE)[0].suffix == "128x128_vector"
    assert choose(10**6, 64, 576, 1, True, REFERENCE)[0].suffix == "128x64_vector"
    assert choose(10**6, 32, 288, 1, True, REFERENCE)[0].suffix == "64x32_vector"
    assert choose(10**6, 128, 1152, 1, False, REFERENCE)[0].suffix == "64x64"
    assert choose_gather(10**6, 256, 512, 9, REFERENCE)[0].suffix == "128x256x64_warpgroups4_bf16"
    assert choose_gather(10**6, 256, 128, 9, replace(REFERENCE, capability=100))[0].suffix == "256x128x64_bf16"
    assert choose_gather(10**6, 256, 128, 9, replace(REFERENCE, capability=80))[0].suffix == "128x128x64_bf16"
    assert choose_gather(10**6, 64, 128, 9, REFERENCE)[0].suffix == "128x64x64_warpgroups4d_bf16"
    assert choose_gather(10**6, 64, 128, 9, replace(REFERENCE, capability=100))[0].suffix == "128x64x64_bf16"
    assert choose_gather(10**6, 32, 32, 9, REFERENCE)[0].suffix == "128x32x32_any_bf16"


def test_a_long_sum_is_cut_where_tiles_are_few_and_not_elsewhere():
    assert choose(10**6, 128, 1152, 1, True, REFERENCE)[1] == 1
    assert choose(576, 128, 147_456, 1, True, REFERENCE)[1] > 10
    assert choose(64, 256, 9216, 1, True, REFERENCE)[1] > 10
    assert choose(10, 10, 129, 1, True, REFERENCE)[1] == 1
    assert choose(576, 128, 147_456, 1000, True, REFERENCE)[1] == 1


def test_of_equal_tiles_the_first_is_taken():
    product = Product(128, 128, 64)
    assert best_tile(product, [TILES[0], replace(TILES[0])], 1, FLOAT32) is TILES[0]
