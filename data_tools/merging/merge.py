"""The merge: which images of the sources are kept, and in which split."""

from __future__ import annotations

from collections.abc import Sequence

from data_tools.config import DrawConfig, MergeConfig
from data_tools.duplicates.assign import Grouping
from data_tools.merging.balancing import balance
from data_tools.merging.conflicts import resolve_conflicts
from data_tools.merging.guards import guard_groups, guard_losses
from data_tools.merging.splitting import draw
from data_tools.merging.weighting import apply_weights
from data_tools.reading.manifest import DROPPED, DUPLICATE, KEPT, Row
from data_tools.reading.read import Collection
from data_tools.reading.reasons import why_left_out
from data_tools.sources.base import SPLITS
from foundation.errors import UserError


def merge(
    collection: Collection, grouping: Grouping, config: MergeConfig, classes: Sequence[str], trains: bool = True
) -> None:
    """Set status and split of every row, and append rows for the added copies. Sorts the rows by id.

    Duplicates are dropped first, then the splits are drawn, then weights and balancing are applied to the training
    split. In this order no image and no copy of it can be both in training and in another split. Raises `UserError`
    if a split or a training class is empty and `trains`, so that the result must do for training; and if
    `config.guards` finds that the duplicates can hardly be duplicates.
    """
    rows = collection.rows
    rows.sort(key=lambda row: row.id)
    usable = [row for row in rows if row.status == KEPT]
    for row in usable:
        row.split = config.split_map[row.original_split or "train"]
        row.group = grouping.groups[grouping.level(config.duplicates)][row.id]
    loose = grouping.loose.get(config.duplicates, [])
    groups: dict[str, list[Row]] = {}
    for row in usable:
        groups.setdefault(row.group, []).append(row)
    guard_groups(groups.values(), config.guards)
    _drop_blank(usable, grouping, config)
    for group in groups.values():
        _drop_duplicates([row for row in group if row.status == KEPT], config)
    if not config.within_split:
        _drop_loose(usable, loose, config)
    guard_losses(usable, config)
    resolve_conflicts(groups.values(), config)
    kept = [row for row in usable if row.status == KEPT]
    _draw(kept, "test", config.test, leave=2 if _draws(kept, "validation", config.validation) else 1)
    copies = _weight_and_balance(kept, collection, config) if config.balance.before_validation else []
    kept = [row for row in [*kept, *copies] if row.packed]
    _draw(kept, "validation", config.validation)
    if not config.within_split:
        _drop_loose(usable, loose, config)  # the draws may have put more pairs into different splits
        kept = [row for row in kept if row.packed]
    if not config.balance.before_validation:
        copies = _weight_and_balance(kept, collection, config)
        kept = [row for row in [*kept, *copies] if row.packed]
    if trains:
        _demand_images(rows, kept, classes, config)
    rows.extend(row for row in copies if row.packed)
    rows.sort(key=lambda row: row.id)
    for row in rows:
        if not row.packed:
            row.split = ""


def _weight_and_balance(rows: Sequence[Row], collection: Collection, config: MergeConfig) -> list[Row]:
    copies = apply_weights(rows, collection.images, config.weights)
    return copies + balance([*rows, *copies], collection.images, config.balance)


def _drop_blank(rows: Sequence[Row], grouping: Grouping, config: MergeConfig) -> None:
    """Mark the blank images of the splits that `merge.blank` names."""
    for row in rows:
        if row.id in grouping.blank and (config.blank == "all" or (config.blank == "train" and row.split == "train")):
            row.status, row.reason = DROPPED, "blank"


def _drop_duplicates(group: list[Row], config: MergeConfig) -> None:
    """Mark the images of a group of duplicates that are dropped.

    If the group has images of the authoritative source (`merge.governs`), these decide its split, and the images of
    all other sources are dropped. Of the remaining images the first by split precedence, source priority and id is
    kept, and the others are dropped if their split is in `merge.thin`; with `merge.repeats=all` not if all are in
    training.
    """
    if config.within_split:
        for split in SPLITS:
            _keep_first([row for row in group if row.split == split], config)
        return
    authoritative = [row for row in group if row.source == config.governs]
    if authoritative:
        first = min(authoritative, key=lambda row: _rank(row, config))
        for row in group:
            if row.source != config.governs:
                row.split = first.split
                _mark(row, first)
        group = authoritative
    _keep_first(group, config)


def _keep_first(group: list[Row], config: MergeConfig) -> None:
    if not group:
        return
    first, *others = sorted(group, key=lambda row: _rank(row, config))
    keep_all = config.repeats == "all" and first.split == "train"  # then the others are in training too
    for row in others:
        if row.split in config.thin and not keep_all:
            _mark(row, first)


def _rank(row: Row, config: MergeConfig) -> tuple[int, int, str]:
    assert config.source_priority is not None
    return config.split_precedence.index(row.split), config.source_priority.index(row.source), row.id


def _mark(row: Row, first: Row) -> None:
    row.status, row.duplicate_of = DUPLICATE, first.id
    row.reason = f"duplicate of {first.id} in {first.split}"
    if row.label != first.label:
        row.reason += f"; labels differ: {row.label} here, {first.label} there"


def _drop_loose(rows: Sequence[Row], loose: Sequence[tuple[str, str]], config: MergeConfig) -> None:
    """Mark training images whose group has a loose pair with an image in another split."""
    by_id = {row.id: row for row in rows}
    members: dict[str, list[Row]] = {}
    for row in rows:
        if row.status == KEPT:
            members.setdefault(row.group, []).append(row)
    for pair in loose:
        groups = [members.get(by_id[name].group, []) for name in pair]
        for own, other in (groups, groups[::-1]):
            held = [row for row in own if row.status == KEPT and row.split != "train"]
            if held:
                first = min(held, key=lambda row: _rank(row, config))
                for row in other:
                    if row.status == KEPT and row.split == "train":
                        _mark(row, first)


def _draws(kept: Sequence[Row], split: str, drawing: DrawConfig) -> bool:
    return bool(drawing.fraction) and (drawing.when == "always" or all(row.split != split for row in kept))


def _draw(kept: Sequence[Row], split: str, drawing: DrawConfig, leave: int = 1) -> None:
    if _draws(kept, split, drawing):
        draw(kept, split, drawing, leave)


def _demand_images(rows: Sequence[Row], kept: Sequence[Row], classes: Sequence[str], config: MergeConfig) -> None:
    """Raise `UserError` unless every split has an image and every class a training image.

    The message counts why the images that could have been there are left out.
    """
    for split in SPLITS:
        if all(row.split != split for row in kept):
            own = [row for row in rows if config.split_map[row.original_split or "train"] == split]
            drawing = {"test": config.test, "validation": config.validation}.get(split)
            if not own and drawing is not None and drawing.fraction:
                raise UserError(
                    f"the {split} split is empty: no source has an image for it, and no class has two different "
                    "training images, one of which could be drawn for it: a class needs three to be in all splits"
                )
            if not own:
                hint = f"; merge.{split}.fraction=0.2 draws one from the training images" if split != "train" else ""
                raise UserError(f"the {split} split is empty: no source has an image for it{hint}")
            raise UserError(f"the {split} split is empty: of its {len(own):,} images {why_left_out(own)}")
    trained = {row.label for row in kept if row.split == "train"}
    for name in classes:
        if name not in trained:
            own = [row for row in rows if row.label == name and not row.packed]
            unknown = [row for row in rows if not row.label and not row.packed]
            reasons = why_left_out(own) or why_left_out(unknown)
            raise UserError(
                f"class '{name}' has no training image{f': {reasons}' if reasons else ''}; correct data.classes, "
                "data.label_map or merge"
            )
