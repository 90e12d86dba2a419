"""A whole training step on the GPU backend, its kernels run by the emulator, against NumPy in float32."""

import numpy as np
import pytest
from omegaconf import OmegaConf

from cnn.backends import get_ops, gpu_missing
from cnn.backends.cupy_ops import CupyOps
from cnn.layers import LAYERS
from cnn.models import build_model
from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.losses import CrossEntropy
from cnn.training.normalization import PixelScaling
from cnn.training.optimizers import build_optimizer
from cuda_emulator import Emulator, unavailable
from data_tools.face_drawing import CLASSES, draw_face
from data_tools.sources.toy_faces import COLLECTIONS
from models.test_shipped_models import load

# Every kind of layer, and of convolution: grouped, dilated, strided, depthwise, one channel.
EVERY_LAYER = {
    "name": "every_layer",
    "layers": [
        {"conv2d": {"filters": 8}},
        "relu",
        {"conv2d": {"filters": 12, "kernel": 5, "stride": 2, "groups": 2, "bias": False}},
        "batch_norm",
        "relu",
        {"dropout": 0.1},
        {"residual": {"layers": [{"conv2d": {"filters": 12, "dilation": 2}}, "silu", "batch_norm"]}},
        {"max_pool2d": {"kernel": 3, "stride": 2, "padding": "same"}},
        {"depthwise_conv2d": {"kernel": 3, "multiplier": 2}},
        "gelu",
        {"avg_pool2d": {"kernel": 2, "stride": 1, "padding": "same"}},
        {
            "residual": {
                "layers": [{"conv2d": {"filters": 9, "kernel": 1}}, "elu"],
                "shortcut": [{"conv2d": {"filters": 9, "kernel": 3}}, "leaky_relu"],
            }
        },
        {"conv2d": {"filters": 11, "kernel": [1, 3], "padding": "valid"}},
        "global_avg_pool2d",
        "flatten",
        {"dense": {"units": 10, "l2": 0.01}},
        "relu",
        {"dense": {"units": "classes"}},
    ],
}
NETWORKS = {
    "baseline": (load("baseline"), (48, 48, 1)),
    "resnet9": (load("resnet9"), (24, 24, 1)),
    "every_layer": (EVERY_LAYER, (23, 21, 1)),
}
SGD = {"name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
ADAM = {"name": "adam", "learning_rate": 1e-3, "weight_decay": 1e-3, "decoupled": True}
TOLERANCE = 1e-4  # of a tensor's difference, as a share of its norm
# Pictures in which no maximum and no ReLU is decided by a rounding. Where one is, its gradient goes to another
# pixel or to none, which is nobody's mistake, and tensors differ by some 1e-3; else they differ by about 1e-5.
PICTURES_SEED = 3


def other_ops(where: str, order: str = "forward"):
    """The backend that is held against NumPy."""
    if where == "emulator":
        if reason := unavailable():
            pytest.skip(f"the CUDA emulator cannot run here: {reason}")
        return CupyOps(Emulator("fast", order))
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
    """A network with batches, loss and optimizer, stepped by hand."""

    def __init__(self, ops, network, images, labels, optimizer, augment=AugmentSettings()):  # noqa: B008
        config, shape = network
        self.ops = ops
        self.model = build_model(config, ops, shape, len(CLASSES), seed=3)
        settings = OmegaConf.create({"optimizer": optimizer})
        self.optimizer = build_optimizer(settings, self.model)
        self.batches = BatchMaker(ops, PixelScaling.fit("standardize", images), augment, seed=3)
        self.criterion = CrossEntropy(ops, np.linspace(0.5, 2, len(CLASSES)).astype(np.float32), smoothing=0.1)
        self.images, self.labels = ops.array(images), ops.array(labels)
        self.steps = 0

    def backward(self, indices) -> float:
        """Loss of the batch, and all gradients."""
        self.steps += 1
        x = self.batches.training(self.images, np.asarray(indices, np.int64), self.steps)
        logits = self.model.forward(x, True, self.steps)
        loss, dlogits = self.criterion(logits, self.labels[self.ops.array(np.asarray(indices, np.int64))])
        self.model.backward(dlogits)
        return float(loss)

    def step(self, indices, learning_rate: float) -> float:
        loss = self.backward(indices)
        self.optimizer.step(learning_rate)
        return loss

    def gradients(self) -> dict[str, np.ndarray]:
        return {name: np.array(self.ops.to_numpy(p.grad)) for name, p in self.model.parameters.items()}


def noise(shape, count, rng):
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8), rng.integers(0, len(CLASSES), count)


def pair(network, where, optimizer):
    images, labels = noise(network[1], 12, np.random.default_rng(PICTURES_SEED))
    return [
        Training(ops, network, images, labels, optimizer, AugmentSettings(flip=True, shift=0.1, rotate=10, erase=0.5))
        for ops in (get_ops("numpy", 1), other_ops(where))
    ]


def test_the_networks_hold_every_kind_of_layer():
    def kinds(entries):
        for entry in entries:
            name, arguments = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
            yield name
            if name in ("residual", "repeat"):
                yield from kinds(arguments["layers"])
                yield from kinds(arguments.get("shortcut", []))

    assert set(kinds(EVERY_LAYER["layers"])) - {"residual"} == set(LAYERS)


@WHERE
@pytest.mark.parametrize("name", NETWORKS)
def test_loss_gradients_and_sgd_updates_are_numpys(name, where):
    numpy, kernels = pair(NETWORKS[name], where, SGD)
    expected, actual = (training.step([3, 1, 6, 11, 0, 8, 2, 9], learning_rate=0.01) for training in (numpy, kernels))
    assert abs(actual - expected) <= TOLERANCE * abs(expected)
    wanted, found = numpy.gradients(), kernels.gradients()
    assert {tensor: distance(found[tensor], wanted[tensor]) for tensor in wanted} == pytest.approx(
        dict.fromkeys(wanted, 0), abs=TOLERANCE
    )
    wanted, found = numpy.model.state(), kernels.model.state()
    for tensor in wanted:
        assert distance(found[tensor], wanted[tensor]) <= TOLERANCE, tensor


@WHERE
def test_adam_updates_are_numpys_for_equal_gradients(where):
    """Adam divides a gradient by its own size, so one that is zero but for rounding becomes a whole step: both
    backends therefore get the same gradients."""
    numpy, kernels = pair(NETWORKS["every_layer"], where, ADAM)
    for _ in range(3):
        numpy.backward([0, 5, 2, 7])
        for name, gradient in numpy.gradients().items():
            kernels.model.parameters[name].grad = kernels.ops.array(gradient)
        for training in (numpy, kernels):
            training.optimizer.step(1e-3)
    wanted, found = numpy.model.state(), kernels.model.state()
    for tensor in numpy.model.parameters:
        assert distance(found[tensor], wanted[tensor]) <= 1e-6, tensor


def faces(count: int, side: int):
    """Toy faces, (count, side, side, 1) uint8, and their labels."""
    rng = np.random.default_rng(5)
    labels = np.arange(count) % len(CLASSES)
    style = COLLECTIONS["toy_studio"].style
    drawn = [draw_face(rng, CLASSES[label], style).convert("L").resize((side, side)) for label in labels]
    return np.stack([np.asarray(image) for image in drawn])[..., None], labels.astype(np.int64)


SMALL = (load("lenet", widths=[8, 12], dense_widths=[32, 16]), (24, 24, 1))


def ten_losses(ops):
    images, labels = faces(84, 24)
    training = Training(ops, SMALL, images, labels, ADAM)
    losses = [training.step(np.arange(i * 28, i * 28 + 28) % 84, learning_rate=5e-3) for i in range(10)]
    return losses, {name: tensor.tobytes() for name, tensor in training.model.state().items()}


@WHERE
def test_ten_steps_on_toy_faces_reduce_the_loss_alike(where):
    expected, actual = ten_losses(get_ops("numpy", 1))[0], ten_losses(other_ops(where))[0]
    assert actual == pytest.approx(expected, rel=0.02)
    for losses in (expected, actual):
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_two_runs_are_identical_bit_for_bit_in_any_thread_order():
    runs = [ten_losses(other_ops("emulator", order)) for order in ("forward", "forward", "reverse", "shuffled")]
    assert all(run == runs[0] for run in runs[1:])


@pytest.mark.gpu
def test_two_runs_on_a_gpu_are_identical_bit_for_bit():
    assert ten_losses(other_ops("cupy")) == ten_losses(other_ops("cupy"))
