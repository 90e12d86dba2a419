"""Maps of a class against PyTorch's hooks, against the sum that they divide, and what they refuse."""

import numpy as np
import pytest
import scipy.ndimage
from numpy.testing import assert_allclose

from benchmarks.torch_reference import torch_missing
from cnn import Classifier
from cnn.explaining import class_maps, last_feature_map
from cnn.explaining.class_maps import resize
from cnn.models import build_model
from foundation.errors import UserError
from models.networks import CLASSES, IMAGE, NETWORKS, build, unsettle
from models.test_shipped_models import load

# Networks of conf/model, narrowed for speed.
SHIPPED = {
    "lenet": {},
    "resnet9": {"widths": [8, 12, 16, 20]},
    "se_resnet_small": {"widths": [8, 12, 16], "squeezed": [4, 4, 4], "repeats": [1, 1, 0]},
    "preact_resnet_small": {"widths": [8, 8, 12, 12], "repeats": [1, 1, 0, 0]},
}


def torch_grad_cam(model, x, classes, node):
    """Grad-CAM as PyTorch computes it, with hooks on the same weights."""
    import torch  # noqa: PLC0415

    from benchmarks.torch_reference import TorchReference  # noqa: PLC0415

    reference = TorchReference(model)
    reference.take_statistics(model)
    reference.module.eval()
    for module in reference.module.modules():  # a hook is to see what the layer has returned
        if hasattr(module, "inplace"):
            module.inplace = False
    held = {}

    def keep(module, inputs, output):
        held["output"] = output
        output.register_hook(lambda gradient: held.__setitem__("gradient", gradient))

    hook = reference.modules[node].register_forward_hook(keep)
    logits = reference.module(reference.images(x))
    logits[torch.arange(len(x)), torch.from_numpy(classes)].sum().backward()
    hook.remove()
    weights = held["gradient"].mean(dim=(2, 3), keepdim=True)
    return torch.relu((weights * held["output"]).sum(dim=1)).detach().numpy(), logits.detach().numpy()


@pytest.mark.skipif(bool(torch_missing()), reason="PyTorch is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SHIPPED)
def test_grad_cam_is_that_of_pytorch_with_hooks(ops, name, rng):
    network = unsettle(build_model(load(name, **SHIPPED[name]), ops, (24, 20, 1), 4, seed=2), rng)
    x, classes = rng.normal(size=(5, 24, 20, 1)).astype(np.float32), np.array([0, 1, 2, 3, 1])
    images = [node.name for node in network.graph.nodes if len(node.shape) == 3 and min(node.shape[:2]) > 1]
    for node in dict.fromkeys([last_feature_map(network), images[0], images[len(images) // 2]]):
        theirs, logits = torch_grad_cam(network, x, classes, node)
        ours = class_maps(network, x, classes, node)
        assert_allclose(ours.scores, logits[np.arange(5), classes], rtol=1e-3, atol=1e-3)
        assert theirs.std() > 0
        assert np.corrcoef(ours.maps.ravel(), theirs.ravel())[0, 1] > 0.9999, node


@pytest.mark.parametrize("layers", ["conv_relu", "residual_add_relu", "conv_norm_relu_pool", "squeeze_excite"])
def test_class_activation_divides_the_score_where_the_rest_is_linear(ops, layers, rng):
    model = unsettle(build(ops, NETWORKS[layers]), rng)
    x, classes = rng.normal(size=(4, *IMAGE)), np.array([0, 1, 2, 1])
    found = class_maps(model, x, classes, method="class_activation")
    assert found.maps.shape[1:] == model.graph.nodes[model.graph.index(found.node)].shape[:2]
    (bias,) = (values for name, values in model.values.tensors.items() if name == f"dense_{_heads(model)}.bias")
    assert_allclose(found.maps.sum(axis=(1, 2)) + bias[classes], found.scores, rtol=1e-5, atol=1e-6)
    weight = model.values.tensors[f"dense_{_heads(model)}.weight"]
    output = model.feature_maps(x, [found.node])[found.node]
    if len(weight) == output.shape[-1]:  # global average pooling: the map of Zhou et al., a place's share of it
        of_zhou = np.einsum("npqc,cn->npq", output, weight[:, classes]) / np.prod(output.shape[1:3])
        assert_allclose(found.maps, of_zhou, rtol=1e-5, atol=1e-6)


def _heads(model):
    return sum(node.name.startswith("dense_") for node in model.graph.nodes)


def test_maps_do_not_depend_on_the_other_images_of_a_call(ops, rng):
    model = unsettle(build(ops, NETWORKS["conv_norm_relu_pool"]), rng)
    x, classes = rng.normal(size=(131, *IMAGE)), np.arange(131) % CLASSES  # several batches
    together = class_maps(model, x, classes)
    for some in (slice(0, 1), slice(63, 66), slice(130, 131)):
        alone = class_maps(model, x[some], classes[some])
        assert_allclose(alone.maps, together.maps[some], rtol=1e-12)
        assert_allclose(alone.scores, together.scores[some], rtol=1e-12)


@pytest.mark.parametrize(("size", "hw"), [((3, 4), (12, 12)), ((1, 5), (7, 5)), ((6, 6), (6, 6)), ((2, 3), (31, 17))])
def test_resizing_is_bilinear_between_the_centres(rng, size, hw):
    maps = rng.normal(size=(2, *size))
    places = [(np.arange(side) + 0.5) * count / side - 0.5 for side, count in zip(hw, size, strict=True)]
    at = np.stack(np.meshgrid(*places, indexing="ij"))
    expected = [scipy.ndimage.map_coordinates(one, at, order=1, mode="nearest") for one in maps]
    assert_allclose(resize(maps, hw), expected, rtol=1e-5, atol=1e-6)


def test_strengths_are_from_zero_to_one(ops, rng):
    model = unsettle(build(ops, NETWORKS["conv_norm_relu_pool"]), rng)
    found = class_maps(model, rng.normal(size=(9, *IMAGE)), np.arange(9) % CLASSES)
    strengths = found.strengths(IMAGE[:2])
    assert strengths.shape == (9, *IMAGE[:2])
    assert 0 <= strengths.min() <= strengths.max() <= 1
    for strength, own in zip(strengths, found.maps, strict=True):
        assert bool(strength.any()) == bool((own > 0).any())


@pytest.mark.parametrize(
    ("layers", "options", "message"),
    [
        ("conv_relu", {"node": "conv2d_7"}, "no node 'conv2d_7'; the nodes are: conv2d_1, relu_1"),
        ("conv_relu", {"node": "dense_1"}, "'dense_1' returns a vector"),
        ("conv_relu", {"method": "saliency"}, "choose one of: grad_cam, class_activation"),
        ("dense", {}, "no feature map"),
    ],
)
def test_what_cannot_be_shown_is_said(ops, layers, options, message):
    model = build(ops, NETWORKS[layers])
    with pytest.raises(UserError, match=message):
        class_maps(model, np.zeros((1, *IMAGE)), np.array([0]), **options)


def test_a_classifier_explains_where_it_looked():
    """The class is the direction of a bright bar somewhere in the image, and its places speak for it."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 60, (140, 12, 12)).astype(np.uint8)
    labels = np.array(["across", "down"])[np.arange(140) % 2]
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(1, 6, 2)
        image[row : row + (2 if label == "across" else 5), column : column + (5 if label == "across" else 2)] = 230
    layers = [{"conv2d": 6}, "relu", {"conv2d": 6}, "relu", "global_avg_pool2d", {"dense": "classes"}]
    classifier = Classifier({"name": "bars", "layers": layers}, epochs=12, learning_rate=0.03, backend="numpy")
    classifier.fit(images[:120], labels[:120])
    assert classifier.score(images[120:], labels[120:]) > 0.9
    found = classifier.explain(images[120:])
    assert list(found.labels) == list(classifier.predict(images[120:]))
    assert found.strengths.shape == (20, 12, 12)
    bright = images[120:] > 200
    assert found.strengths[bright].mean() > 2 * found.strengths[~bright].mean()
    drawn = found.overlay()
    assert (drawn.shape, drawn.dtype) == ((20, 12, 12, 3), np.uint8)
    dark = found.strengths == 0
    assert_allclose(drawn[dark], np.repeat(images[120:][..., None], 3, axis=3)[dark])
    other = classifier.explain(images[120:123], labels=["across", "down", "across"], node="conv2d_1")
    assert list(other.labels) == ["across", "down", "across"]
    with pytest.raises(ValueError, match="which was not in training"):
        classifier.explain(images[:1], labels=["up"])
    with pytest.raises(ValueError, match="one label for each"):
        classifier.explain(images[:2], labels=["across"])
