"""The models in conf/model, as the entry points build them."""

import pytest
from omegaconf import OmegaConf

from cnn.assembly import plain
from cnn.models import build_model
from cnn.models.summary import summary_rows, summary_table
from foundation.entry import config_dir

IMAGE, CLASSES = (48, 48, 1), 7
SHIPPED = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


def load(name, **overrides):
    """conf/model/<name>.yaml with `overrides`, interpolations resolved, as Hydra's group `model` would be."""
    config = OmegaConf.create({"model": OmegaConf.load(config_dir() / "model" / f"{name}.yaml")})
    OmegaConf.update(config, "model", overrides)
    return plain(config.model)


def build(ops, name, image=IMAGE, **overrides):
    return build_model(load(name, **overrides), ops, image, CLASSES, seed=0)


def test_the_four_models_are_shipped():
    assert {"baseline", "lenet", "resnet9", "vgg_small"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_builds_and_its_summary_adds_up(ops, name):
    model = build(ops, name)
    assert model.name == name
    rows = summary_rows(model)
    assert sum(row["parameters"] for row in rows) == model.parameter_count
    assert 2 * model.root.macs(IMAGE) / 1e6 == pytest.approx(sum(row["mflops"] for row in rows))
    assert rows[-1]["output_shape"] == "7"
    assert summary_table(model).row_count == len(rows)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("image", [(32, 32, 3), (40, 56, 1)], ids=str)
def test_shipped_model_builds_for_other_images(ops, name, image):
    assert build(ops, name, image).root.output_shape(image) == (CLASSES,)


def test_baseline_has_the_predecessors_parameters(ops):
    model = build(ops, "baseline")
    assert model.parameter_count == 1_587_975
    assert model.trainable_count == 1_585_799


def test_baseline_parameters_layer_by_layer(ops):
    """Keras' own numbers: 3 * 3 * channels * filters + filters, inputs * units + units, four per normed channel."""
    rows = {row["layer"]: row["parameters"] for row in summary_rows(build(ops, "baseline"))}
    convs = [3 * 3 * c * k + k for c, k in ((1, 64), (64, 128), (128, 256), (256, 256))]
    assert [rows[f"conv2d_{i}"] for i in range(1, 5)] == convs
    denses = [i * u + u for i, u in ((3 * 3 * 256, 256), (256, 128), (128, 7))]
    assert [rows[f"dense_{i}"] for i in range(1, 4)] == denses
    assert [rows[f"batch_norm_{i}"] for i in range(1, 7)] == [4 * c for c in (64, 128, 256, 256, 256, 128)]
    assert all(rows[name] == 0 for name in rows if name.startswith(("relu", "dropout", "max_pool2d", "flatten")))


def test_baseline_mflops_layer_by_layer(ops):
    """Two operations a multiply-accumulate: output pixels times taps times channels in times channels out."""
    rows = {row["layer"]: row["mflops"] for row in summary_rows(build(ops, "baseline"))}
    convs = [(48, 1, 64), (24, 64, 128), (12, 128, 256), (6, 256, 256)]
    for i, (side, channels, filters) in enumerate(convs, start=1):
        assert rows[f"conv2d_{i}"] == pytest.approx(2 * side * side * 9 * channels * filters / 1e6)
    for i, (inputs, units) in enumerate([(2304, 256), (256, 128), (128, 7)], start=1):
        assert rows[f"dense_{i}"] == pytest.approx(2 * inputs * units / 1e6)
    assert all(rows[name] == 0 for name in rows if not name.startswith(("conv2d", "dense")))


def test_mflops_of_grouped_and_depthwise_convolutions_and_of_residuals(ops):
    layers = [
        {"conv2d": {"filters": 6, "stride": 2}},
        {"residual": {"layers": [{"depthwise_conv2d": {}}], "shortcut": [{"conv2d": {"filters": 6, "kernel": 1}}]}},
        {"conv2d": {"filters": 4, "groups": 2, "padding": "valid"}},
        "global_avg_pool2d",
        {"dense": "classes"},
    ]
    rows = summary_rows(build_model({"name": "m", "layers": layers}, ops, (8, 8, 2), CLASSES, seed=0))
    by_hand = {
        "conv2d_1": 4 * 4 * 9 * 2 * 6,
        "depthwise_conv2d_1": 4 * 4 * 9 * 6,
        "conv2d_2": 4 * 4 * 6 * 6,
        "conv2d_3": 2 * 2 * 9 * 3 * 4,
        "dense_1": 4 * CLASSES,
    }
    assert {row["layer"]: row["mflops"] for row in rows if row["mflops"]} == pytest.approx(
        {name: 2 * macs / 1e6 for name, macs in by_hand.items()}
    )
    assert [row["depth"] for row in rows] == [0, 0, 1, 1, 0, 0, 0]


def test_an_override_of_widths_changes_the_parameters(ops):
    narrow = build(ops, "baseline", widths=[8, 16, 16, 24])
    assert narrow.parameters["conv2d_4.weight"].value.shape == (3, 3, 16, 24)
    assert narrow.parameters["dense_1.weight"].value.shape == (3 * 3 * 24, 256)
    assert narrow.parameter_count < build(ops, "baseline").parameter_count


def test_an_override_of_depth_repeats_the_stages(ops):
    convs = [leaf for leaf in build(ops, "vgg_small", depth=3).root.leaves() if leaf.kind == "conv2d"]
    assert len(convs) == 12


def test_baseline_penalises_its_two_hidden_dense_layers_alone(ops):
    model = build(ops, "baseline", l2=0.25)
    assert {name: p.l2 for name, p in model.parameters.items() if p.l2} == {
        "dense_1.weight": 0.25,
        "dense_2.weight": 0.25,
    }


def test_weight_decay_spares_biases_and_norms(ops):
    decayed = {name for name, p in build(ops, "baseline").parameters.items() if p.decay}
    assert decayed == {*(f"conv2d_{i}.weight" for i in range(1, 5)), *(f"dense_{i}.weight" for i in range(1, 4))}
