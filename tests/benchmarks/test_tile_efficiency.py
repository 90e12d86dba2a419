"""The gate of padding x waves: what it holds, and that it notices what it is for."""

import pytest

from benchmarks.models import model_config
from benchmarks.tile_efficiency import (
    BATCHES,
    CLASSES,
    EXCEPTIONS,
    INPUT,
    LEAST,
    TABLE,
    failures,
    main,
    measure,
    of_steps,
)
from cnn.backends import get_ops
from cnn.kernels import tile_choice
from cnn.kernels.families import gemm_rules, tensor_rules
from cnn.models import build_model


@pytest.fixture(scope="module")
def rows():
    return measure()


@pytest.fixture
def without_memory():
    """Choices are remembered: a fault must be seen, and forgotten afterwards."""
    remembered = (gemm_rules.choose, tensor_rules.choose_gather, tensor_rules.choose_wgrad)
    for choose in remembered:
        choose.cache_clear()
    yield
    for choose in remembered:
        choose.cache_clear()


def test_every_product_keeps_the_device_busy(rows):
    assert failures(rows) == []


def test_the_large_batches_of_resnet9_need_no_excuse(rows):
    """But for filter gradients with rows for half a tile too many, and products of few large tiles."""
    below = [row for row in rows if row.model == "resnet9" and row.batch >= 512 and row.efficiency < LEAST]
    excused = {(f"{pass_} 36n×512×4608", batch) for pass_ in ("forward", "backward_input") for batch in (512, 1024)}
    excused |= {(f"backward_filter {rows}n", b) for rows in ("576×128×2304", "1152×128×576") for b in (512, 1024)}
    excused |= {("backward_filter 4608×512×36n", 512), ("backward_input 144n×256×4608", 512)}
    assert {(row.shape, row.batch) for row in below if not row.short} <= excused


def test_both_storage_types_have_every_product(rows):
    """But for those of seven classes, which tensor cores do not compute. Products of one channel are no rows."""
    nodes = build_model(model_config("resnet9"), get_ops("numpy"), INPUT, CLASSES, seed=0).graph.nodes
    macs = [node.layer.macs(node.input_shape) for node in nodes]
    for batch in BATCHES:
        mine = [row for row in rows if row.model == "resnet9" and row.batch == batch]
        multiplied = {
            storage: sum(row.multiplied for row in mine if row.storage == storage)
            for storage in ("float32", "bfloat16")
        }
        assert multiplied["float32"] == 3 * (sum(macs) - macs[0]) * batch
        assert multiplied["bfloat16"] == 3 * (sum(macs) - macs[0] - macs[-1]) * batch


def test_every_exception_is_needed(rows):
    for pattern in EXCEPTIONS:
        others = {key: value for key, value in EXCEPTIONS.items() if key != pattern}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("benchmarks.tile_efficiency.EXCEPTIONS", others)
            assert failures(rows), pattern


def test_the_committed_table_is_todays(capsys):
    assert TABLE.exists()
    assert main(["--check"]) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("without_memory")
def test_without_narrow_tiles_it_fails(monkeypatch):
    monkeypatch.setattr(gemm_rules, "TILES", gemm_rules.TILES[:1])
    monkeypatch.setattr(
        tensor_rules, "GATHER_TILES", tuple(tile for tile in tensor_rules.GATHER_TILES if tile.n >= 128 or tile.k < 64)
    )
    lines = failures(measure(["vgg_small"], [512]))
    assert any("float32, forward 576n×64×576" in line for line in lines)
    assert any("bfloat16, forward 576n×64×576" in line for line in lines)


@pytest.mark.usefixtures("without_memory")
@pytest.mark.parametrize("rules", [gemm_rules, tensor_rules])
def test_without_parts_it_fails(monkeypatch, rules):
    monkeypatch.setattr(rules, "best_splits", lambda *_: 1)
    assert any("all products" in line for line in failures(measure(["resnet9"], [512])))


@pytest.mark.usefixtures("without_memory")
def test_tiles_that_are_chosen_for_another_device_fail(monkeypatch):
    monkeypatch.setattr(gemm_rules, "best_tile", lambda product, tiles, *_: tiles[0])
    assert failures(measure(["resnet9"], [64]))


def test_a_step_is_the_sum_of_its_products(rows):
    steps = of_steps(rows)
    for (model, storage, batch), efficiency in steps.items():
        mine = [row for row in rows if (row.model, row.storage, row.batch) == (model, storage, batch)]
        assert min(row.efficiency for row in mine) <= efficiency <= max(row.efficiency for row in mine)
    assert tile_choice.REFERENCE.multiprocessors == 132
