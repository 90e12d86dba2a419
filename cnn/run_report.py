"""What the report of a run shows of its data and its network: maps, augmented images, split sizes, the command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from cnn.explaining import class_maps, last_feature_map
from cnn.models import Model
from cnn.reporting.examples import Explain
from cnn.reporting.html_report import Augmented, DataFacts
from cnn.reporting.pictures import image_uri
from cnn.reporting.run_files import ReportParts
from cnn.training.batches import AugmentSettings, BatchMaker
from cnn.training.inference import predict_probabilities
from cnn.training.loop import Trainer
from cnn.training.pack import Pack, Split
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.views import Matrix
from data_tools.auditing.checks import leaks_of, verdict
from foundation.errors import UserError
from foundation.files import read_json
from foundation.strict_yaml import read_yaml

_ROWS, _DRAWS = 4, 5  # training images that are shown, and how often each is augmented


def report_parts(
    config: DictConfig,
    folder: Path,
    pack_folder: Path,
    pack: Pack,
    trainer: Trainer,
    views: Sequence[Matrix | None],
    overrides: Sequence[str],
) -> ReportParts:
    """The parts of the report of a run that has ended, in `folder`.

    `views` are those of an image whose probabilities are averaged; `overrides` are the typed options.
    """
    validation, shown = pack.splits["validation"], bool(config.report.images)
    size = trainer.settings.batch_size
    node = last_feature_map(trainer.model) if shown else None
    settings = trainer.batches.augment
    return ReportParts(
        images=shown,
        explain=None if node is None else explain(trainer.model, pack.splits["test"].images, trainer.batches, node),
        node=node or "",
        validation=(
            validation.host_labels,
            predict_probabilities(trainer.model, validation.images, trainer.batches, size, views=views),
        ),
        data=data_facts(pack, pack_folder, settings),
        augmented=augmented(trainer, pack) if shown else (),
        command=command(folder, overrides),
    )


def explain(model: Model, images: Any, batches: BatchMaker, node: str) -> Explain:
    """A function that maps indices of `images` and class numbers to maps by Grad-CAM."""

    def maps(indices: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.floating]:
        return class_maps(model, batches.plain(images, model.ops.array(indices)), classes, node).maps

    return maps


def data_facts(pack: Pack, folder: Path, augment: AugmentSettings) -> DataFacts:
    """The sizes of the splits, and the verdict of the audit that lies in the pack's folder."""
    splits = {name: np.bincount(split.host_labels, minlength=len(pack.classes)) for name, split in pack.splits.items()}
    found, leaks = "", None
    try:
        numbers = read_json(folder / "audit.json")
        found, leaks = verdict(numbers), leaks_of(numbers)
    except (UserError, KeyError, TypeError, AttributeError, ValueError):  # none, or of another version
        found = ""
    return DataFacts(
        splits={name: counts.tolist() for name, counts in splits.items()},
        copies=_copies(folder),
        verdict=found,
        leaks=leaks,
        augmentation=in_words(augment),
    )


def _copies(folder: Path) -> dict[str, int]:
    """The augmented copies that the merge has added to each split."""
    try:
        made = read_json(folder / "pack.json")["counts"]["made"]
        found: dict[str, int] = {}
        for by_split in made.values():
            for split, by_class in by_split.items():
                found[str(split)] = found.get(str(split), 0) + sum(map(int, by_class.values()))
        return found
    except (UserError, KeyError, TypeError, AttributeError, ValueError):
        return {}


def in_words(augment: AugmentSettings) -> str:
    """The options of augmentation as a sentence."""
    said = [
        (augment.flip, "mirrored at random"),
        (augment.shift, f"shifted by up to {augment.shift:.0%} of a side"),
        (augment.rotate, f"rotated by up to {augment.rotate:g} degrees"),
        (augment.zoom, f"zoomed by up to {augment.zoom:.0%}"),
        (augment.crop < 1, f"cropped to at least {augment.crop:.0%} of the area"),
        (augment.brightness or augment.contrast, "changed in brightness or contrast"),
        (augment.erase, f"partly erased, with a probability of {augment.erase:.0%}"),
    ]
    used = [text for on, text in said if on]
    mixed = " Then two of a batch are mixed (mixup or CutMix), which is not shown here." if augment.mixes else ""
    if not used:
        return (
            f"Training images are not augmented one by one.{mixed}" if mixed else "Training images are not augmented."
        )
    return f"In training each image is {', '.join(used)}, anew in each epoch.{mixed}"


def augmented(trainer: Trainer, pack: Pack) -> list[Augmented]:
    """Some training images, of different classes as far as possible, and what the first steps would make of them."""
    batches, train = trainer.batches, pack.splits["train"]
    if batches.is_plain:
        return []
    ops, chosen = trainer.model.ops, _of_each_class(train, _ROWS)
    indices = ops.array(chosen)
    originals = ops.to_numpy(train.images)[chosen]
    scaling = PixelScaling.recorded(trainer.metadata, np.float32)
    draws = []
    for step in range(1, _DRAWS + 1):
        x = ops.to_numpy(batches.augmented(train.images, indices, ops.array(np.array([step], np.int64))))
        draws.append(np.clip(np.rint((x.astype(np.float32) - scaling.offset) / scaling.scale), 0, 255).astype(np.uint8))
    return [
        Augmented(
            pack.classes[train.host_labels[index]], image_uri(image), [image_uri(drawn[place]) for drawn in draws]
        )
        for place, (index, image) in enumerate(zip(chosen.tolist(), originals, strict=True))
    ]


def _of_each_class(split: Split, count: int) -> NDArray[np.int64]:
    """Indices of the first image of each of the first classes, and of further images if there are fewer classes."""
    first = np.unique(split.host_labels, return_index=True)[1][:count]
    others = np.setdiff1d(np.arange(len(split)), first)[: count - len(first)]
    return np.concatenate([np.sort(first), others]).astype(np.int64)


def command(folder: Path, overrides: Sequence[str]) -> str:
    """The command line of a run, for a shell: of a resumed one as it was begun."""
    recorded = folder / ".hydra" / "overrides.yaml"
    try:
        found = read_yaml(recorded)
        if isinstance(found, list) and all(isinstance(each, str) for each in found):
            overrides = found
    except (UserError, OSError):  # a run in which Hydra wrote none
        pass
    return shlex.join(["python", "-m", "cnn.train", *overrides])
