"""A whole training step on the GPU backend, its kernels run by the emulator, against the reference in float32."""

import numpy as np
import pytest

from backends.emulated import new_emulated_ops
from benchmarks.models import model_config as load
from cnn.backends import get_ops, gpu_missing
from cnn.backends.reference.arrays import round_to_bfloat16
from cnn.layers import JOINS, LAYERS
from cnn.models import InferenceModel, build_model
from cnn.models.precision import ops_of_precision, storage_of
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.losses import CrossEntropy
from cnn.training.optimizers import AdamSettings, SgdSettings, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.step import TrainingStep
from cuda_emulator import unavailable
from data_tools.sources.face_drawing import CLASSES, draw_face
from data_tools.sources.toy_faces import COLLECTIONS
from models.networks import kinds

# Every kind of layer, of join, and of convolution: grouped, dilated, strided, depthwise, one channel.
EVERY_LAYER = {
    "name": "every_layer",
    "layers": [
        {"concat": {"branches": [[{"patch_whitening": 2}], [{"conv2d": {"filters": 8}}, "relu"]]}},
        {"conv2d": {"filters": 12, "kernel": 5, "stride": 2, "groups": 2, "bias": False}},
        "batch_norm",
        "relu",
        {"dropout": 0.1},
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 12, "dilation": 2}}, "silu", "batch_norm", {"drop_path": 0.5}]
            }
        },
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": "same_lower", "ceil": True}},
        {"depthwise_conv2d": {"kernel": 3, "multiplier": 2}},
        "gelu",
        {"avg_pool2d": {"kernel": 2, "stride": 1, "padding": "same", "count_include_pad": True}},
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 9, "kernel": 1}}, "elu"],
                "shortcut": [{"conv2d": {"filters": 9, "kernel": 3}}, "leaky_relu"],
            }
        },
        {"conv2d": {"filters": 11, "kernel": [1, 3], "padding": "valid"}},
        {"concat": {"branches": [["mish", {"group_norm": 1}], ["hard_swish", "layer_norm"], ["softplus"]]}},
        {"multiply": {"branches": [["prelu"], ["global_avg_pool2d", "tanh", {"dense": 33}, "sigmoid"]]}},
        {"add": {"branches": [["selu"], [{"clip": {"low": -0.5}}], ["relu6"]]}},
        "global_avg_pool2d",
        "flatten",
        {"dense": {"units": 10, "l2": 0.01}},
        "relu",
        {"dense": {"units": "classes"}},
    ],
}
# Narrower than they are shipped: how wide a layer may be is for the conformance suite to ask.
NETWORKS = {
    "baseline": (load("baseline", widths=[12, 20, 32, 40], dense_widths=[48, 24]), (48, 48, 1)),
    "resnet9": (load("resnet9", widths=[12, 20, 32, 40]), (24, 24, 1)),
    "se_resnet_small": (load("se_resnet_small", widths=[12, 16, 20]), (16, 16, 1)),
    "every_layer": (EVERY_LAYER, (23, 21, 1)),
}
SGD = SgdSettings(learning_rate=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3)
ADAM = AdamSettings(learning_rate=1e-3, weight_decay=1e-3, decoupled=True)
BFLOAT16_TOLERANCE = 3e-2  # the same in bfloat16: some of the roundings are elsewhere
TOLERANCE = 1e-4  # of a tensor's difference, as a fraction of its norm
# Images in which no maximum and no ReLU is decided by a rounding. Where one is, its gradient goes to another pixel or
# to none, which is nobody's mistake, and tensors differ by some 1e-3; else they differ by about 1e-5.
IMAGES_SEED = 3


def other_ops(where: str, order: str = "forward"):
    """The backend that is compared with the reference."""
    if where == "emulator":
        if reason := unavailable():
            pytest.skip(f"the CUDA emulator cannot run here: {reason}")
        return new_emulated_ops("fast", order)
    if reason := gpu_missing():
        pytest.skip(reason)
    return get_ops("cupy")


WHERE = pytest.mark.parametrize("where", ["emulator", pytest.param("cupy", marks=pytest.mark.gpu)])


def distance(actual, expected) -> float:
    """Norm of the difference over the norm of what is expected."""
    actual, expected = (np.asarray(x, np.float64) for x in (actual, expected))
    assert np.isfinite(actual).all()
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


class Training:
    """A network that trains on given batches, one at a time, by the loop's own step."""

    def __init__(
        self,
        ops,
        network,
        images,
        labels,
        optimizer,
        augment=AugmentSettings(),  # noqa: B008
        storage="float32",
    ):
        config, shape = network
        self.ops, self.count = ops, len(images)
        self.model = build_model(config, ops, shape, len(CLASSES), seed=3, storage=storage)
        self.optimizer = build_optimizer(optimizer, self.model, clip_norm=50.0)
        batches = BatchMaker(ops, PixelScaling.fit("standardize", images), augment, seed=3, storage=storage)
        loss = CrossEntropy(ops, np.linspace(0.5, 2, len(CLASSES)).astype(np.float32), smoothing=0.1)
        held = ops.array(images), ops.array(labels)
        self._step = TrainingStep(self.model, loss, self.optimizer, batches, *held, batch_size=1)
        self.steps = 0

    def step(self, indices, learning_rate: float) -> float:
        """The loss of a step on the images of these numbers."""
        rest = np.setdiff1d(np.arange(self.count), indices)
        rates = np.full(self.count, learning_rate, np.float32)
        self._step.begin_epoch(np.concatenate([indices, rest]), rates, self.steps)
        self.steps += 1
        self._step(len(indices))
        return self._step.totals()[0]

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: np.array(self.ops.to_numpy(part)) for name, part in self.model.gradients.tensors.items()}


def noise(shape, count, rng):
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, len(CLASSES), count)


def pair(network, where, optimizer):
    images, labels = noise(network[1], 12, np.random.default_rng(IMAGES_SEED))
    return [
        Training(ops, network, images, labels, optimizer, AugmentSettings(flip=True, shift=0.1, rotate=10, erase=0.5))
        for ops in (get_ops("numpy"), other_ops(where))
    ]


def test_the_networks_hold_every_kind_of_layer():
    assert set(kinds(EVERY_LAYER["layers"])) - {"residual"} == {*LAYERS, *JOINS}


@WHERE
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradients_and_sgd_updates_are_the_references(name, where):
    reference, kernels = pair(NETWORKS[name], where, SGD)
    expected, actual = (
        training.step([3, 1, 6, 11, 0, 8, 2, 9], learning_rate=0.01) for training in (reference, kernels)
    )
    assert abs(actual - expected) <= TOLERANCE * abs(expected)
    wanted, found = reference.gradients(), kernels.gradients()
    least = 1e-4 * max(float(np.linalg.norm(gradient)) for gradient in wanted.values())
    for tensor in wanted:
        # A bias in front of a batch norm moves nothing: its gradient is rounding error.
        if np.linalg.norm(wanted[tensor]) > least:
            assert distance(found[tensor], wanted[tensor]) <= TOLERANCE, tensor
        else:
            assert np.linalg.norm(found[tensor]) <= 2 * least, tensor
    wanted, found = reference.model.state(), kernels.model.state()
    for tensor in wanted:
        assert np.linalg.norm(found[tensor] - wanted[tensor]) <= TOLERANCE * (1 + np.linalg.norm(wanted[tensor]))


@WHERE
def test_adam_updates_are_the_references_for_equal_gradients(where):
    """Adam divides a gradient by its own size, so one that is zero but for rounding becomes a whole step: both
    backends therefore get the same gradients."""
    trainings = pair(NETWORKS["every_layer"], where, ADAM)
    rng = np.random.default_rng(4)
    for step in range(1, 4):
        gradients = {name: rng.normal(size=part.shape) for name, part in trainings[0].gradients().items()}
        for training in trainings:
            training.model.gradients.fill(gradients)
            rate, inertia = (training.ops.array(np.array([value], np.float32)) for value in (1e-3, ADAM.beta1))
            training.optimizer.step(rate, inertia, training.ops.array(np.array([step, 0, 0])))
    wanted, found = (training.model.state() for training in trainings)
    for tensor in wanted:
        if np.linalg.norm(wanted[tensor]):
            assert distance(found[tensor], wanted[tensor]) <= 1e-6, tensor


# No maximum and no ReLU, whose gradient goes elsewhere if a rounding decides it. Some products are on tensor cores.
SMOOTH = {
    "name": "smooth",
    "layers": [
        {"conv2d": {"filters": 8}},
        "silu",
        {"conv2d": {"filters": 16, "stride": 2, "bias": False}},
        "batch_norm",
        "silu",
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 16, "kernel": [1, 3]}}, "batch_norm", "gelu", {"dropout": 0.1}]
            }
        },
        {"conv2d": {"filters": 12, "groups": 2}},
        "tanh",
        {"avg_pool2d": 2},
        "batch_norm",
        {"multiply": {"branches": [[], ["global_avg_pool2d", {"dense": 12}, "sigmoid"]]}},
        {"concat": {"branches": [["mish"], [{"depthwise_conv2d": {}}, {"group_norm": 3}]]}},
        "flatten",
        {"dense": 24},
        "elu",
        {"dense": {"units": 16, "bias": False}},
        "prelu",
        {"dense": "classes"},
    ],
}


def smooth_step(where, storage, order="forward"):
    """The loss of a step on a network without kinks, its gradients and its new weights."""
    images, labels = noise((19, 17, 1), 12, np.random.default_rng(IMAGES_SEED))
    ops = get_ops("numpy") if where == "numpy" else other_ops(where, order)
    training = Training(ops, (SMOOTH, (19, 17, 1)), images, labels, SGD, AugmentSettings(flip=True), storage)
    loss = training.step([3, 1, 6, 11, 0, 8, 2, 9, 4, 5], learning_rate=0.01)
    return loss, training.gradients(), training.model


@WHERE
def test_a_step_in_bfloat16_is_the_emulated_one(where):
    """The kernels round what one of them passes to the next inside a block, too, and the reference does not."""
    expected, wanted, _ = smooth_step("numpy", "bfloat16")
    exact, _, _ = smooth_step("numpy", "float32")
    actual, found, model = smooth_step(where, "bfloat16")
    assert actual == pytest.approx(expected, rel=2e-3)
    assert actual != exact
    least = 1e-3 * max(float(np.linalg.norm(gradient)) for gradient in wanted.values())
    for tensor in wanted:
        assert found[tensor].dtype == np.float32
        if np.linalg.norm(wanted[tensor]) > least:
            assert distance(found[tensor], wanted[tensor]) <= BFLOAT16_TOLERANCE, tensor
    assert model.rounded.flat.dtype == np.uint16
    values, copy = (np.array(model.ops.to_numpy(each.flat)) for each in (model.values, model.rounded))
    np.testing.assert_array_equal(copy, round_to_bfloat16(values))


def test_a_step_in_bfloat16_is_the_same_bit_for_bit_in_any_thread_order():
    runs = []
    for order in ("forward", "forward", "reverse", "shuffled"):
        loss, gradients, _ = smooth_step("emulator", "bfloat16", order)
        runs.append((loss, {name: gradient.tobytes() for name, gradient in gradients.items()}))
    assert all(run == runs[0] for run in runs[1:])


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_inference_in_each_precision_is_that_of_the_reference(precision):
    ops = other_ops("emulator")
    x, results = np.random.default_rng(7).normal(size=(9, 19, 17, 1)).astype(np.float32), []
    for each in (get_ops("numpy"), ops_of_precision(precision, ops)):
        model = build_model(SMOOTH, each, (19, 17, 1), len(CLASSES), seed=3, storage=storage_of(precision))
        results.append(np.array(each.to_numpy(InferenceModel(model).forward(each.array(x)))))
    assert results[1].dtype == np.float32
    assert 0 < distance(results[1], results[0]) <= BFLOAT16_TOLERANCE
    assert not ops.tf32


def faces(count: int, side: int):
    """Toy faces, (count, side, side, 1) uint8, and their labels."""
    rng = np.random.default_rng(5)
    labels = np.arange(count) % len(CLASSES)
    style = COLLECTIONS["toy_studio"].style
    drawn = [draw_face(rng, CLASSES[label], style).convert("L").resize((side, side)) for label in labels]
    return np.stack([np.asarray(image) for image in drawn])[..., None], labels.astype(np.int64)


SMALL = (load("lenet", widths=[8, 12], dense_widths=[32, 16]), (24, 24, 1))


def losses_of(ops, steps):
    """The loss of each step, and every tensor afterwards, bit for bit."""
    images, labels = faces(84, 24)
    training = Training(ops, SMALL, images, labels, ADAM)
    losses = [training.step(np.arange(i * 28, i * 28 + 28) % 84, learning_rate=5e-3) for i in range(steps)]
    return losses, {name: tensor.tobytes() for name, tensor in training.model.state().items()}


@WHERE
def test_ten_steps_on_toy_faces_reduce_the_loss_alike(where):
    expected, actual = (losses_of(ops, 10)[0] for ops in (get_ops("numpy"), other_ops(where)))
    assert actual == pytest.approx(expected, rel=0.02)
    for losses in (expected, actual):
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_two_runs_are_identical_bit_for_bit_in_any_thread_order():
    runs = [losses_of(other_ops("emulator", order), 3) for order in ("forward", "forward", "reverse", "shuffled")]
    assert all(run == runs[0] for run in runs[1:])


@pytest.mark.gpu
def test_two_runs_on_a_gpu_are_identical_bit_for_bit():
    assert losses_of(other_ops("cupy"), 10) == losses_of(other_ops("cupy"), 10)
