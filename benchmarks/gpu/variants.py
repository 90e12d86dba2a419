"""Trains variants of a recipe on a pack, one run each, and compares them on the validation split alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.gpu.recipe import DEFAULTS, trainer_of
from benchmarks.gpu.turn import Turn, header
from cnn.backends import get_ops
from cnn.training.loop import Trainer
from cnn.training.pack import load_pack
from cnn.training.progress import Progress
from foundation.files import write_text
from foundation.plain_config import compose

_LAST = 5  # epochs, over which the last validation scores are averaged


def run(turn: Turn) -> str:
    """Train each variant once, as far as the time allows; writes `variants_<recipe>.md` after each.

    `turn.variants` is a JSON file: a mapping of names to what differs from the recipe, by group, such as
    `{"longer": {"trainer": {"epochs": 90}}, "another network": {"model": "resnet9"}}`.
    """
    if turn.data is None or turn.variants is None:
        return "left out: it needs --data and --variants"
    ops: Any = get_ops("cupy")
    pack = load_pack(Path(turn.data), ops)
    facts = turn.facts(device={"name": ops.device})
    runs: list[Variant] = []
    left_out = 0
    taken = 0.0
    for name, options in turn.read_variants().items():
        if turn.left < 1.05 * taken:
            left_out += 1
            continue
        begun = turn.left
        trainer = trainer_of(compose(turn.recipe, options, **DEFAULTS), ops, pack, turn.seeds[0], precision="auto")
        with Progress(False, False) as progress:
            trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
        taken = begun - turn.left
        runs.append(Variant(name, options, trainer, taken))
        write_text(turn.out / f"variants_{turn.recipe}.md", _markdown(facts, turn, runs, len(pack.splits["train"])))
    return f"{len(runs)} variants, {left_out} left out for want of time"


@dataclass
class Variant:
    """A run, and what it changes in the recipe."""

    name: str
    options: dict[str, Any]
    trainer: Trainer
    seconds: float


def _markdown(facts: dict[str, Any], turn: Turn, runs: list[Variant], images: int) -> str:
    lines = [
        *header(f"Variants of {turn.recipe}", facts),
        f"Seed {turn.seeds[0]}, {images:,} training images. Validation: the best accuracy, and means over the last "
        f"{_LAST} epochs. The test split was not scored.",
        "",
        "| variant | epochs | best | accuracy | loss | train accuracy | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for each in runs:
        last = each.trainer.history[-_LAST:]
        means = [fmean(row[key] for row in last) for key in ("val_accuracy", "val_loss", "train_accuracy")]
        cells = f"{each.trainer.best.value:.4f} | {' | '.join(f'{mean:.4f}' for mean in means)} | {each.seconds:.0f}"
        lines.append(f"| {each.name} | {each.trainer.epoch} | {cells} |")
    lines += ["", *(f"- {each.name}: {_told(each.options)}" for each in runs)]
    return "\n".join(lines) + "\n"


def _told(options: dict[str, Any]) -> str:
    found = []
    for group, values in options.items():
        given = {group: values} if isinstance(values, str) else {f"{group}.{key}": each for key, each in values.items()}
        found += [f"`{key}={value}`" for key, value in given.items()]
    return ", ".join(found) or "the recipe"
