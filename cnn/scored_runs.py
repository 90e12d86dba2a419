"""Class probabilities of finished runs on splits of their packs, for `cnn.evaluate` and `cnn.compare`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, ListConfig, OmegaConf

from cnn.assembly import ops_of, require_int, views_of
from cnn.backends import Ops
from cnn.finished_run import FinishedRun
from cnn.training.inference import predict_probabilities
from cnn.training.pack import Pack, load_pack
from data_tools.config import DataConfig
from data_tools.packs.listing import by_content
from data_tools.prepare import prepare
from data_tools.reading.manifest import read_manifest
from data_tools.sources.base import SPLITS
from foundation.errors import UserError
from foundation.schema import UNSET


@dataclass
class ScoringSettings:
    """The options outside the groups that `cnn.evaluate` and `cnn.compare` share."""

    run: str | list[str] = UNSET
    split: str = "validation"
    tta: str = "none"
    tta_shift: int = 2
    tta_crop: float = 0.875
    batch_size: int = 256
    root: str | None = None
    pack_dir: str | None = None
    pack: str | None = None


@dataclass(frozen=True)
class ScoredRun:
    """A run, and what its best epoch predicts for each split that was asked for."""

    folder: Path
    model: str
    epoch: int
    seed: int
    classes: tuple[str, ...]
    recipe: dict[str, Any]  # options by their full names, and the pack's hash
    labels: dict[str, NDArray[np.int64]]  # split -> (n,)
    probabilities: dict[str, NDArray[Any]]  # split -> (n, classes), the mean over the views
    pack: Path
    pack_hash: str
    images: Callable[[str, NDArray[np.int64]], NDArray[np.uint8]]  # those of a split with these indices, on the host

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The ids of the images of each split, in the order of the pack."""
        return {split: [name for name, *_ in _identities(self.pack, split)] for split in self.labels}


def split_of(config: DictConfig) -> str:
    """The option `split`. Raises `UserError` for an unknown one."""
    if config.split not in SPLITS:
        raise UserError(f"split is '{config.split}'; choose one of: {', '.join(SPLITS)}")
    return str(config.split)


def folders_of(config: DictConfig, key: str) -> list[Path]:
    """The folders that the option `key` names, one or a list. Raises `UserError` for an empty or repeated one."""
    given = config[key]
    if given is None:
        return []
    folders = [Path(str(each)) for each in (given if isinstance(given, ListConfig) else [given])]
    if isinstance(given, ListConfig) and not folders:
        raise UserError(f"{key}=[] names no run")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError(f"{key}=[{','.join(map(str, folders))}] names a run twice")
    return folders


def score_runs(config: DictConfig, folders: Sequence[Path], splits: Sequence[str]) -> list[ScoredRun]:
    """Predict `splits` with each run; the options are those that `cnn.evaluate` and `cnn.compare` share.

    The runs may have images of different sizes, each scored in its own. Raises `UserError` for runs of other classes or
    of other images in one of the splits.
    """
    ops, views, batch_size = ops_of(config), views_of(config), require_int(config, "batch_size", 1)
    runs: list[ScoredRun] = []
    pack, loaded = None, None
    for folder in folders:
        run = FinishedRun.open(folder, ops)
        place = _pack_folder(config, run)
        if pack is None or place != loaded:  # several runs of a pack load it once
            pack, loaded = load_pack(place, ops), place
        _check_pack(pack, run)
        chosen = views.views(run.image_shape[:2])
        scored = ScoredRun(
            folder=folder,
            model=run.model.name,
            epoch=run.epoch,
            seed=run.seed,
            classes=run.classes,
            recipe={**dict(_flat(run.recipe)), "the data pack": run.pack_hash and run.pack_hash[:12]},
            labels={name: pack.splits[name].host_labels for name in splits},
            probabilities={
                name: predict_probabilities(run.model, pack.splits[name].images, run.batches, batch_size, views=chosen)
                for name in splits
            },
            pack=place,
            pack_hash=pack.content_hash,
            images=partial(_images, pack, ops),
        )
        if runs:
            _check_same(runs[0], scored, splits)
        runs.append(scored)
    return runs


def _images(pack: Pack, ops: Ops, split: str, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.asarray(ops.to_numpy(pack.splits[split].images)[indices])


def differing_options(a: ScoredRun, b: ScoredRun) -> list[tuple[str, str, str]]:
    """The options in which two runs differ: name, value of a, value of b."""
    keys = dict.fromkeys([*a.recipe, *b.recipe])
    return [
        (key, str(a.recipe.get(key)), str(b.recipe.get(key))) for key in keys if a.recipe.get(key) != b.recipe.get(key)
    ]


def difference_of_recipes(runs: Sequence[ScoredRun]) -> str | None:
    """The first option in which the runs differ and their folders, in words; None if only their seeds differ."""
    first = runs[0]
    for other in runs[1:]:
        for key in dict.fromkeys([*first.recipe, *other.recipe]):
            if (one := first.recipe.get(key)) != (two := other.recipe.get(key)):
                return f"{key} is {one} in {first.folder}, and {two} in {other.folder}"
    return None


def _check_same(first: ScoredRun, other: ScoredRun, splits: Sequence[str]) -> None:
    """Raise `UserError` for runs of other classes, or of other images in a split."""
    if first.classes != other.classes:
        names = sorted(set(first.classes) ^ set(other.classes))
        raise UserError(
            f"the runs {first.folder} and {other.folder} have other classes: "
            + (f"only one of them has {', '.join(names)}" if names else "they are in another order")
        )
    if first.pack_hash == other.pack_hash:
        return
    for split in splits:
        where = f"the runs {first.folder} and {other.folder} have other images in the {split} split"
        one, two = (_identities(run.pack, split) for run in (first, other))
        if len(one) != len(two):
            raise UserError(f"{where}: {len(one)} and {len(two)}")
        for (name, *content), (other_name, *other_content) in zip(one, two, strict=True):
            if content != other_content:
                raise UserError(f"{where}: {name} and {other_name}, with other pixels or another label")


def _identities(folder: Path, split: str) -> list[tuple[str, str, str]]:
    """Name, hash of the original pixels, and label of each image of a split, in the order of the pack."""
    rows = [row for row in read_manifest(folder / "manifest.csv") if row.packed and row.split == split]
    return [(row.id, row.pixels_sha256, row.label) for row in sorted(rows, key=lambda row: row.pack_row or 0)]


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
    return made_of or prepare(composed, Path(config.pack_dir or DataConfig.pack_dir).expanduser())


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
