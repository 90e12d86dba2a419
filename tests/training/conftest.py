"""A pack that a network learns in a second, and a trainer for it."""

import json
from pathlib import Path

import numpy as np
import pytest

from cnn.assembly import TrainingOptions, new_trainer
from cnn.models import build_model
from cnn.models.precision import storage_of
from cnn.training.batches import AugmentSettings
from cnn.training.loop import Trainer, TrainerSettings
from cnn.training.losses import class_weights
from cnn.training.optimizers import AdamSettings, SgdSettings
from cnn.training.pack import Pack, load_pack
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.schedules import ScheduleSettings
from foundation.pack_hash import content_hash

CLASSES = ("left", "right", "middle")
COUNTS = (90, 45, 30)  # train, validation, test
LAYERS = [
    {"conv2d": {"filters": 4, "bias": False}},
    "batch_norm",
    "relu",
    {"max_pool2d": 2},
    "flatten",
    {"dropout": 0.2},
    {"dense": {"units": "classes", "l2": 0.001}},
]
SGD = SgdSettings(learning_rate=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3)
ADAM = AdamSettings(learning_rate=0.01, weight_decay=0.01, decoupled=True)


def blobs(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy 8x8 images, bright on the left, on the right or in the middle; (n, 8, 8, 1) uint8 and labels."""
    labels = np.arange(count) % 3
    images = rng.integers(0, 120, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        start = (0, 5, 3)[label]
        image[2:6, start : start + 3] += 90
    return images.astype(np.uint8), labels.astype(np.int64)


def write_pack(folder: Path) -> Path:
    """The files of a pack, as cnn.training.pack reads them."""
    rng = np.random.default_rng(8)
    parts = [blobs(count, rng) for count in COUNTS]
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    splits = np.repeat(np.arange(3, dtype=np.uint8), COUNTS)
    for name, array in (("images", images), ("labels", labels), ("splits", splits)):
        np.save(folder / f"{name}.npy", array)
    about = {
        "name": "blobs",
        "classes": list(CLASSES),
        "split_names": ["train", "validation", "test"],
        "content_hash": content_hash(images, labels, splits, CLASSES),
        "image_shape": [8, 8, 1],
    }
    (folder / "pack.json").write_text(json.dumps(about))
    return folder


@pytest.fixture
def pack_folder(tmp_path) -> Path:
    return write_pack(tmp_path / "pack")


@pytest.fixture
def pack(ops, pack_folder) -> Pack:
    return load_pack(pack_folder, ops)


@pytest.fixture
def make_trainer(ops, pack, tmp_path):
    """Build a trainer of the pack: settings by name, the rest as `cnn.train` does."""

    def make(
        folder="run",
        optimizer=SGD,
        schedule=None,
        augment=None,
        layers=LAYERS,
        seed=0,
        metadata=None,
        backend=ops,
        image_shape=None,
        **settings,
    ) -> Trainer:
        trainer = TrainerSettings(**({"epochs": 4, "batch_size": 16} | settings))
        augment = AugmentSettings(**(augment or {"shift": 0.1}))
        options = TrainingOptions(trainer, optimizer, ScheduleSettings(**(schedule or {})), augment, seed)
        train = pack.splits["train"]
        return new_trainer(
            build_model(
                {"name": "tiny", "layers": layers},
                backend,
                image_shape or pack.image_shape,
                3,
                seed,
                storage=storage_of(trainer.precision),
            ),
            len(train),
            PixelScaling.fit(trainer.pixels, train.images),
            class_weights(trainer.class_weights, train.host_labels, 3),
            options,
            tmp_path / folder if folder else None,
            {"classes": list(CLASSES), "seed": seed} | (metadata or {}),
        )

    return make
