"""Trains a recipe of `conf/experiment` on a pack with the time that is left, and scores its best epoch once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.gpu.turn import Turn, header
from cnn.assembly import TrainingOptions, loss_weights, new_trainer
from cnn.backends import get_ops
from cnn.models import build_model
from cnn.models.precision import ops_of_precision, resolve_precision, storage_of
from cnn.training.batches import AugmentSettings
from cnn.training.inference import loss_and_accuracy, predict_probabilities
from cnn.training.loop import Trainer, TrainerSettings
from cnn.training.optimizers import OPTIMIZERS
from cnn.training.pack import Pack, load_pack
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.progress import Progress
from cnn.training.schedules import ScheduleSettings
from foundation.files import write_text
from foundation.plain_config import compose

SEED = 0
_RESERVED = 15.0  # seconds for the last epoch to end and for the test split
DEFAULTS = {
    "augment": "flip_shift",
    "model": "lenet",
    "optimizer": "adam",
    "schedule": "one_cycle",
    "trainer": "default",
}


def run(turn: Turn) -> str:
    """Train; writes `recipe.md` after each epoch."""
    if turn.data is None:
        return "left out: GPU_DATA names no pack"
    ops: Any = get_ops("cupy")
    pack = load_pack(Path(turn.data), ops)
    trainer = _trainer(turn, ops, pack)
    facts = turn.facts(device={"name": ops.device}, recipe=turn.recipe)

    def write(*ends: str) -> None:
        write_text(turn.out / "recipe.md", _markdown(facts, trainer, pack, ends))

    with Progress(False, False) as progress:
        trainer.fit(pack.splits["train"], pack.splits["validation"], progress, write)
    test = pack.splits["test"]
    probabilities = predict_probabilities(trainer.model, test.images, trainer.batches, trainer.settings.batch_size)
    _, accuracy = loss_and_accuracy(probabilities, test.host_labels)
    score = f"test accuracy {accuracy:.4f} on {len(test)} images, of epoch {trainer.best.epoch}"
    write("", f"After {trainer.epoch} of {trainer.settings.epochs} epochs: {score}.")
    return score


def _trainer(turn: Turn, ops: Any, pack: Pack) -> Trainer:
    groups = compose(turn.recipe, **DEFAULTS)
    trainer = TrainerSettings(
        **groups["trainer"] | {"max_minutes": max(1.0, turn.left - _RESERVED) / 60, "precision": "auto"}
    )
    trainer.precision = resolve_precision(trainer.precision, ops, "trainer.precision")
    options = TrainingOptions(
        trainer,
        OPTIMIZERS[groups["optimizer"]["name"]](**groups["optimizer"]),
        ScheduleSettings(**groups["schedule"]),
        AugmentSettings(**groups["augment"]),
        SEED,
    )
    train = pack.splits["train"]
    own = ops_of_precision(trainer.precision, ops)
    storage = storage_of(trainer.precision)
    model = build_model(groups["model"], own, pack.image_shape, len(pack.classes), SEED, storage=storage)
    scaling = PixelScaling.fit(trainer.pixels, ops.to_numpy(train.images))
    weights = loss_weights(trainer.class_weights, pack)
    return new_trainer(model, len(train), scaling, weights, options, None, {})


def _markdown(facts: dict[str, Any], trainer: Trainer, pack: Pack, ends: tuple[str, ...]) -> str:
    columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_second", "seconds")
    lines = [
        *header(f"Recipe {facts['recipe']}", facts),
        f"{trainer.model.name} in {trainer.settings.precision} on the pack {pack.name}; no epoch begins after the time",
        "of this stage.",
        "",
        f"| {' | '.join(name.replace('_', ' ') for name in columns)} |",
        f"|{' ---: |' * len(columns)}",
        *(f"| {' | '.join(_number(row.get(name)) for name in columns)} |" for row in trainer.history),
        *ends,
    ]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
