"""The models in conf/model, as the entry points build them."""

import itertools

import numpy as np
import pytest
from omegaconf import OmegaConf

from cnn.assembly import to_container
from cnn.layers import Conv2D
from cnn.models import build_model
from cnn.models.summary import summary_rows, summary_table
from foundation.config import config_dir

IMAGE, CLASSES = (48, 48, 1), 7
SHIPPED = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))


def load(name, **overrides):
    """conf/model/<name>.yaml with `overrides`, interpolations resolved, as Hydra's group `model` would be."""
    config = OmegaConf.create({"model": OmegaConf.load(config_dir() / "model" / f"{name}.yaml")})
    OmegaConf.update(config, "model", overrides)
    return to_container(config.model)


def build(ops, name, image=IMAGE, **overrides):
    return build_model(load(name, **overrides), ops, image, CLASSES, seed=0)


SMALL = ["mobile_small", "preact_resnet_small", "resnet18_small", "se_resnet_small"]


def test_the_named_models_are_shipped():
    assert {"baseline", "lenet", "resnet9", "vgg_small", "vgg_record", "airbench", *SMALL} <= set(SHIPPED)


@pytest.mark.parametrize("name", SMALL)
def test_small_models_have_less_than_a_million_parameters(ops, name):
    for image in (IMAGE, (32, 32, 3)):
        assert build(ops, name, image).parameter_count < 1_000_000


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_model_builds_and_its_summary_adds_up(ops, name):
    model = build(ops, name)
    assert model.name == name
    rows = summary_rows(model)
    assert sum(row["parameters"] for row in rows) == model.parameter_count
    assert [row["layer"] for row in rows] == [node.name for node in model.graph.nodes]
    assert rows[-1]["output_shape"] == "7"
    assert summary_table(model).row_count == len(rows)


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("image", [(32, 32, 3), (40, 56, 1)], ids=str)
def test_shipped_model_builds_for_other_images(ops, name, image):
    model = build(ops, name, image)
    assert model.graph.nodes[-1].shape == (CLASSES,)
    assert model.forward(np.zeros((1, *image), np.float32), False)[0].shape == (1, CLASSES)


def test_baseline_has_the_predecessors_parameters(ops):
    model = build(ops, "baseline")
    assert model.parameter_count == 1_587_975
    assert model.trainable_count == 1_585_799


def test_se_resnet_small_has_the_parameters_of_its_blocks(ops):
    """By the formulas of its papers: convolutions 9 c k, norms 4 c, gates 2 c s + s + c, shortcuts c k."""

    def block(c, k, s):
        return 9 * c * k + 9 * k * k + 2 * 4 * k + 2 * k * s + s + k

    def halving(c, k, s):
        return block(c, k, s) + c * k + 4 * k

    stages = 2 * block(32, 32, 8) + halving(32, 64, 8) + block(64, 64, 8) + halving(64, 128, 16) + block(128, 128, 16)
    model = build(ops, "se_resnet_small")
    assert model.parameter_count == 9 * 32 + 4 * 32 + stages + 128 * 7 + 7 < 1_000_000
    rows = {row["layer"]: row for row in summary_rows(model)}
    assert rows["multiply_1"]["inputs"] == "batch_norm_3, sigmoid_1"
    assert rows["add_1"]["inputs"] == "multiply_1, relu_1"
    assert [rows[f"add_{i}"]["output_shape"] for i in (1, 3, 5)] == ["48 × 48 × 32", "24 × 24 × 64", "12 × 12 × 128"]


def test_resnet18_small_has_the_parameters_of_the_paper(ops):
    """With the paper's widths: 3x3 convolutions, two norms a block, 1x1 shortcuts where the size is halved."""

    def block(c, k):
        return 9 * c * k + 9 * k * k + 2 * 4 * k + (c * k + 4 * k if c != k else 0)

    def resnet18(widths, channels, classes):
        stages = list(zip([widths[0], *widths], widths, strict=False))
        return (
            9 * channels * widths[0]
            + 4 * widths[0]
            + sum(block(c, k) + block(k, k) for c, k in stages)
            + (widths[-1] * classes + classes)
        )

    wide = build(ops, "resnet18_small", (32, 32, 3), widths=[64, 128, 256, 512])
    assert wide.parameter_count == resnet18([64, 128, 256, 512], 3, CLASSES)
    assert (
        wide.trainable_count == 11_168_832 + 512 * CLASSES + CLASSES
    )  # as published for CIFAR, without its last layer
    model = build(ops, "resnet18_small")
    assert model.parameter_count == resnet18([16, 32, 64, 128], 1, CLASSES)
    assert sum(isinstance(node.layer, Conv2D) for node in model.graph.nodes) == 17 + 3


def test_preact_resnet_small_adds_what_nothing_has_changed(ops):
    """Each sum is read by the next block's first norm and by its shortcut or sum; no ReLU stands behind a sum."""
    graph = build(ops, "preact_resnet_small").graph
    sums = [index for index, node in enumerate(graph.nodes) if node.name.startswith("add")]
    assert len(sums) == 8
    for index in sums:
        readers = [graph.nodes[reader].name.rpartition("_")[0] for reader in graph.consumers()[index]]
        assert readers[0] == "batch_norm"
        assert readers[1:] in ([], ["add"])
    assert sum(isinstance(node.layer, Conv2D) for node in graph.nodes) == 17 + 3


def test_mobile_small_filters_only_depthwise_and_ends_blocks_without_activation(ops):
    model = build(ops, "mobile_small")
    graph = model.graph
    first, *others = [node for node in graph.nodes if isinstance(node.layer, Conv2D)]
    spatial = [node for node in others if node.layer.window(node.input_shape).taps > 1]
    assert first.layer.window(first.input_shape).taps == 9
    assert len(spatial) == 3 + 1 + 3 + 3
    for node in spatial:
        assert node.layer.groups_and_filters(node.input_shape[2]) == (node.input_shape[2], node.input_shape[2])
    for node in graph.nodes:
        if node.name.startswith("add"):
            assert graph.nodes[node.inputs[0]].name.startswith("batch_norm")

    def block(c, expanded, k):
        return c * expanded + 9 * expanded + expanded * k + 4 * (2 * expanded + k)

    first_stage = 9 * 32 + 4 * 32 + 32 * 32 + 4 * 32 + block(32, 128, 32)
    stages = [(32, 128, 64, 3), (64, 256, 128, 3)]
    blocks = first_stage + sum(block(c, e, k) + times * block(k, 4 * k, k) for c, e, k, times in stages)
    assert model.parameter_count == 9 * 32 + 4 * 32 + blocks + 128 * 512 + 4 * 512 + 512 * CLASSES + CLASSES


def test_vgg_record_has_the_parameters_of_its_layers(ops):
    widths = [1, 64, 64, 128, 128, 256, 256, 512, 512]
    convs = sum(9 * c * k + 4 * k for c, k in itertools.pairwise(widths))
    dense = [3 * 3 * 512, 4096, 4096, CLASSES]
    assert build(ops, "vgg_record").parameter_count == convs + sum(c * k + k for c, k in itertools.pairwise(dense))


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
    assert [row["depth"] for row in rows] == [0, 1, 1, 0, 0, 0, 0]
    assert [row["inputs"] for row in rows] == ["", "", "conv2d_1", "depthwise_conv2d_1, conv2d_2", "", "", ""]


def test_an_override_of_widths_changes_the_parameters(ops):
    narrow = build(ops, "baseline", widths=[8, 16, 16, 24])
    assert narrow.state()["conv2d_4.weight"].shape == (3, 3, 16, 24)
    assert narrow.state()["dense_1.weight"].shape == (3 * 3 * 24, 256)
    assert narrow.parameter_count < build(ops, "baseline").parameter_count


@pytest.mark.parametrize(
    ("name", "overrides", "convolutions"),
    [("vgg_small", {"depth": 3}, 12), ("se_resnet_small", {"repeats": [1, 0, 2]}, 1 + 2 + 3 + 7)],
)
def test_an_override_of_depth_repeats_the_blocks(ops, name, overrides, convolutions):
    nodes = build(ops, name, **overrides).graph.nodes
    assert sum(isinstance(node.layer, Conv2D) for node in nodes) == convolutions


def test_baseline_penalises_its_two_hidden_dense_layers_alone(ops):
    model = build(ops, "baseline", l2=0.25)
    weights = model.state()
    by_hand = 0.25 * sum(np.sum(np.square(weights[f"dense_{i}.weight"], dtype=np.float64)) for i in (1, 2))
    assert model.penalty() == pytest.approx(by_hand, rel=1e-6)
