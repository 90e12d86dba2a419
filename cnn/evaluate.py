"""`python -m cnn.evaluate run=FOLDER`: score a run's best epoch on the validation split, or on split=test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import rich
from omegaconf import DictConfig, OmegaConf
from rich.table import Table
from rich.text import Text

from cnn.assembly import groups, ops_of, require_int
from cnn.finished_run import FinishedRun
from cnn.reporting.metrics import Scores, compute_scores
from cnn.training.inference import predict_probabilities
from cnn.training.pack import Pack, load_pack
from data_tools.packs.listing import by_content
from data_tools.prepare import prepare
from data_tools.sources.base import SPLITS
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import write_json
from foundation.schema import UNSET


@dataclass
class EvaluateSettings:
    """The options outside the groups."""

    run: str = UNSET
    split: str = "validation"
    batch_size: int = 256
    root: str | None = None
    pack_dir: str | None = None
    pack: str | None = None


@entry("evaluate", groups("backend", top=EvaluateSettings))
def main(config: DictConfig) -> None:
    """Print the scores and write them to `evaluation_<split>.json` in the run's folder."""
    if config.split not in SPLITS:
        raise UserError(f"split is '{config.split}'; choose one of: {', '.join(SPLITS)}")
    ops = ops_of(config)
    run = FinishedRun.open(Path(config.run), ops)
    pack = load_pack(_pack_folder(config, run), ops)
    _check_pack(pack, run)
    split = pack.splits[config.split]
    probabilities = predict_probabilities(run.model, split.images, run.batches, require_int(config, "batch_size", 1))
    scores = compute_scores(split.host_labels, probabilities, run.classes)
    write_json(run.folder / f"evaluation_{config.split}.json", {"split": config.split, **scores.as_dict()})
    rich.print(scores_table(scores, f"{run.model.name}, epoch {run.epoch}, {config.split} split"))
    if config.split == "test":
        rich.print("A test score is for reporting, once. Choose between models by their validation scores.")


def scores_table(scores: Scores, title: str) -> Table:
    """The scores of each class, with the overall scores in the caption."""
    low, high = scores.accuracy_interval
    table = Table(
        "class",
        title=title,
        title_justify="left",
        caption=f"accuracy {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"macro F1 {scores.macro_f1:.4f} ({scores.macro_f1_of}), log loss {scores.log_loss:.4f}",
        caption_justify="left",
    )
    for heading in ("precision", "recall", "F1", "images"):
        table.add_column(heading, justify="right")
    for name, row in scores.per_class.items():
        figures = [f"{row[key]:.3f}" for key in ("precision", "recall", "f1")]
        table.add_row(Text(name), *figures, f"{row['support']:,}")
    return table


def _check_pack(pack: Pack, run: FinishedRun) -> None:
    """Raise `UserError` for a pack that is not that of the run, or has other images or classes than the network."""
    if run.pack_hash is not None and pack.content_hash != run.pack_hash:
        raise UserError(
            f"the data pack is no longer the one that {run.folder} was trained on (its hash is "
            f"{pack.content_hash[:12]}, not {run.pack_hash[:12]}): the scores would not be comparable"
        )
    if pack.image_shape != run.image_shape or pack.classes != run.classes:
        raise UserError(
            f"the network in {run.folder} takes images of {run.image_shape} with the classes {', '.join(run.classes)}; "
            f"the pack has images of {pack.image_shape} with the classes {', '.join(pack.classes)}"
        )
    if run.pack_hash is None:
        print("The network was trained on arrays from Python: these images may have been in its training data.")


def _pack_folder(config: DictConfig, run: FinishedRun) -> Path:
    """The folder given as pack=FOLDER, the pack that the run was trained on, or one of the run's options."""
    if config.pack is not None:
        return Path(config.pack)
    composed = run.config()
    for key in ("root", "pack_dir"):
        if config[key] is not None:
            OmegaConf.update(composed, f"data.{key}", config[key])
    made_of = by_content(Path(composed.data.pack_dir).expanduser(), run.pack_hash) if run.pack_hash else None
    return made_of or prepare(composed)


if __name__ == "__main__":
    main()
