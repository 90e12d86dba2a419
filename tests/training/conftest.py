"""A pack that a network learns in a second, and a trainer for it."""

import json
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from cnn.models import build_model
from cnn.training.augmentation import AugmentSettings, BatchMaker
from cnn.training.best import Best
from cnn.training.loop import Trainer, TrainerSettings
from cnn.training.losses import CrossEntropy, class_weights
from cnn.training.normalization import PixelScaling
from cnn.training.optimizers import build_optimizer
from cnn.training.pack import Pack, load_pack
from cnn.training.schedules import ScheduleSettings, build_schedule

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
SGD = {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
ADAM = {"name": "adam", "learning_rate": 0.01, "weight_decay": 0.01, "decoupled": True}


def blobs(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Noisy 8x8 pictures, bright on the left, on the right or in the middle; (n, 8, 8, 1) uint8 and labels."""
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
    np.save(folder / "images.npy", np.concatenate([images for images, _ in parts]))
    np.save(folder / "labels.npy", np.concatenate([labels for _, labels in parts]))
    np.save(folder / "splits.npy", np.repeat(np.arange(3, dtype=np.uint8), COUNTS))
    about = {
        "name": "blobs",
        "classes": list(CLASSES),
        "split_names": ["train", "validation", "test"],
        "content_hash": "abc",
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
    """Build a trainer: settings by name, the rest as in cnn.assembly."""

    def make(
        folder="run", optimizer=SGD, schedule=None, augment=None, layers=LAYERS, seed=0, about=None, **settings
    ) -> Trainer:
        settings = TrainerSettings(**({"epochs": 4, "batch_size": 16} | settings))
        train = pack.splits["train"]
        model = build_model({"name": "tiny", "layers": layers}, ops, pack.image_shape, 3, seed)
        optimizer = build_optimizer(OmegaConf.create({"optimizer": optimizer}), model)
        scaling = PixelScaling.fit(settings.pixels, train.images)
        steps = settings.epochs * -(-len(train) // settings.batch_size)
        weights = class_weights(settings.class_weights, train.host_labels, 3)
        return Trainer(
            model=model,
            criterion=CrossEntropy(ops, weights, settings.label_smoothing),
            optimizer=optimizer,
            schedule=build_schedule(ScheduleSettings(**(schedule or {})), optimizer.learning_rate, steps),
            batches=BatchMaker(ops, scaling, AugmentSettings(**(augment or {"shift": 0.1})), seed),
            settings=settings,
            seed=seed,
            folder=tmp_path / folder,
            about={"classes": list(CLASSES), "seed": seed} | (about or {}),
            best=Best(settings.early_stopping),
        )

    return make
