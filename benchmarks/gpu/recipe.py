"""Trains a recipe of `conf/experiment` on a pack with several seeds, and scores the best epoch of each once.

The test split is scored without and with test-time augmentation (`tta=flip`), and by the mean of all runs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from cnn.training.views import ViewSettings
from foundation.errors import UserError
from foundation.files import write_text
from foundation.plain_config import compose

_RESERVED = 15.0  # seconds for the last epoch to end and for the test split
DEFAULTS: dict[str, Any] = {
    "augment": "flip_shift",
    "model": "lenet",
    "optimizer": "adam",
    "schedule": "one_cycle",
    "trainer": "default",
}


def run(turn: Turn) -> str:
    """Train once for each seed, as far as the time allows; writes `recipe_<name>.md` after each epoch.

    A further seed begins only if there is as much time left as the last one took.
    """
    if turn.data is None:
        return "left out: GPU_DATA names no pack"
    ops: Any = get_ops("cupy")
    pack = load_pack(Path(turn.data), ops)
    title = turn.recipe if turn.variant is None else f"{turn.recipe}, {turn.variant}"
    facts = turn.facts(device={"name": ops.device}, recipe=title)
    name = "_".join(re.findall(r"\w+", f"{title} {pack.name}" if turn.variant is not None else title))
    runs: list[Run] = []
    taken = 0.0
    for seed in turn.seeds:
        if runs and turn.left < 1.05 * taken + _RESERVED:
            break
        begun = turn.left
        trainer = _trainer(turn, ops, pack, seed)
        runs.append(Run(trainer))

        def write() -> None:
            write_text(turn.out / f"recipe_{name}.md", _markdown(facts, runs, pack))

        with Progress(False, False) as progress:
            trainer.fit(pack.splits["train"], pack.splits["validation"], progress, write)
        test = pack.splits["test"]
        given = trainer.model, test.images, trainer.batches, trainer.settings.batch_size
        mirrored = ViewSettings("flip").views(pack.image_shape[:2])
        runs[-1].score = loss_and_accuracy(predict_probabilities(*given), test.host_labels)[1]
        runs[-1].probabilities = predict_probabilities(*given, views=mirrored)
        runs[-1].mirrored = loss_and_accuracy(runs[-1].probabilities, test.host_labels)[1]
        runs[-1].seconds = taken = begun - turn.left
        write()
    return _summary(runs, pack)


@dataclass
class Run:
    """One training; `score` is the test accuracy of its best epoch, `mirrored` that with `tta=flip`."""

    trainer: Trainer
    score: float | None = None
    mirrored: float | None = None
    probabilities: NDArray[Any] | None = None  # (n, classes) of the test split, with `tta=flip`
    seconds: float = 0.0


def _summary(runs: list[Run], pack: Pack) -> str:
    scored = [run for run in runs if run.score is not None]
    if not scored:
        return "no test accuracy"
    plain, mirrored = (_over([getattr(run, name) for run in scored]) for name in ("score", "mirrored"))
    text = f"test accuracy {plain}, with tta=flip {mirrored}"
    if len(scored) > 1:
        mean = np.mean([run.probabilities for run in scored if run.probabilities is not None], axis=0)
        together = loss_and_accuracy(mean, pack.splits["test"].host_labels)[1]
        text += f" over {len(scored)} seeds, the mean of all runs with tta=flip {together:.4f},"
    return f"{text} on {len(pack.splits['test'])} images, each of the epoch with the best validation accuracy"


def _over(scores: list[float]) -> str:
    return f"{fmean(scores):.4f}" + (f" ± {stdev(scores):.4f}" if len(scores) > 1 else "")


def _trainer(turn: Turn, ops: Any, pack: Pack, seed: int) -> Trainer:
    minutes = max(1.0, turn.left - _RESERVED) / 60
    groups = compose(turn.recipe, _options(turn), **DEFAULTS)
    return trainer_of(groups, ops, pack, seed, max_minutes=minutes, precision="auto")


def _options(turn: Turn) -> dict[str, Any]:
    """What the chosen variant changes in the recipe."""
    if turn.variant is None:
        return {}
    if turn.variant not in (given := turn.read_variants()):
        raise UserError(f"there is no variant '{turn.variant}' in {turn.variants}")
    found: dict[str, Any] = given[turn.variant]
    return found


def trainer_of(groups: dict[str, dict[str, Any]], ops: Any, pack: Pack, seed: int, **settings: Any) -> Trainer:
    """A new trainer by the composed groups of a recipe, with other values for some settings of the trainer."""
    trainer = TrainerSettings(**groups["trainer"] | settings)
    trainer.precision = resolve_precision(trainer.precision, ops, "trainer.precision")
    options = TrainingOptions(
        trainer,
        OPTIMIZERS[groups["optimizer"]["name"]](**groups["optimizer"]),
        ScheduleSettings(**groups["schedule"]),
        AugmentSettings(**groups["augment"]),
        seed,
    )
    train = pack.splits["train"]
    own = ops_of_precision(trainer.precision, ops)
    storage = storage_of(trainer.precision)
    model = build_model(groups["model"], own, pack.image_shape, len(pack.classes), seed, storage=storage)
    scaling = PixelScaling.fit(trainer.pixels, ops.to_numpy(train.images))
    weights = loss_weights(trainer.class_weights, pack)
    return new_trainer(model, len(train), scaling, weights, options, None, {})


def _markdown(facts: dict[str, Any], runs: list[Run], pack: Pack) -> str:
    columns = ("epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "images_per_second", "seconds")
    first = runs[0].trainer
    lines = [
        *header(f"Recipe {facts['recipe']}", facts),
        f"{first.model.name} in {first.settings.precision} on the pack {pack.name}: training on "
        f"{len(pack.splits['train']):,} images. {_summary(runs, pack).capitalize()}.",
        "",
        "| seed | epochs | of | best epoch | its validation accuracy | test accuracy | with tta=flip | seconds |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for run in runs:
        trainer = run.trainer
        score = " | ".join("" if each is None else f"{each:.4f}" for each in (run.score, run.mirrored))
        lines.append(
            f"| {trainer.seed} | {trainer.epoch} | {trainer.settings.epochs} | {trainer.best.epoch} "
            f"| {_number(trainer.best.value)} | {score} | {run.seconds:.1f} |"
        )
    for run in runs:
        lines += [
            "",
            f"## Seed {run.trainer.seed}",
            "",
            f"| {' | '.join(name.replace('_', ' ') for name in columns)} |",
            f"|{' ---: |' * len(columns)}",
            *(f"| {' | '.join(_number(row.get(name)) for name in columns)} |" for row in run.trainer.history),
        ]
    return "\n".join(lines) + "\n"


def _number(value: Any) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
