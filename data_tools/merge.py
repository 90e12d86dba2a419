"""The policy: which images of the sources stay, and in which split."""

from __future__ import annotations

from collections.abc import Sequence

from data_tools.balancing import balance
from data_tools.config import MergeConfig
from data_tools.duplicates import assign_groups
from data_tools.manifest import DUPLICATE, KEPT, Row
from data_tools.reading import Collection
from data_tools.sources.base import SPLITS
from data_tools.splitting import draw
from foundation.errors import UserError


def merge(collection: Collection, config: MergeConfig, classes: Sequence[str]) -> None:
    """Decide status and split of every row, and append the made copies. Rows end up sorted by id.

    The order is the point: duplicates go first, then the splits are drawn, then the training split is balanced, so
    that no image and no copy of one can be on both sides. Raises `UserError` if a split or a training class is empty.
    """
    rows = collection.rows
    rows.sort(key=lambda row: row.id)
    usable = [row for row in rows if row.status == KEPT]
    for row in usable:
        row.split = config.split_map[row.original_split or "train"]
    for group in assign_groups(usable, config.duplicates).values():
        _thin(group, config)
    kept = [row for row in usable if row.status == KEPT]
    for split, drawing in (("test", config.test), ("validation", config.validation)):
        if drawing.fraction and (drawing.when == "always" or all(row.split != split for row in kept)):
            draw(kept, split, drawing)
    _demand_images(kept, classes)
    rows.extend(balance(kept, collection.images, config.balance))
    rows.sort(key=lambda row: row.id)
    for row in rows:
        if not row.packed:
            row.split = ""


def _thin(group: list[Row], config: MergeConfig) -> None:
    """Mark the duplicates of a group that leave.

    The first by split precedence, source priority and id always stays; every other one yields to it if its own split
    is to be thinned.
    """
    assert config.source_priority is not None
    protected, priority = config.split_precedence, config.source_priority
    first, *others = sorted(group, key=lambda row: (protected.index(row.split), priority.index(row.source), row.id))
    for row in others:
        if row.split in config.thin:
            row.status, row.duplicate_of = DUPLICATE, first.id
            row.reason = f"yields to {first.id} in {first.split}"
            if row.label != first.label:
                row.reason += f"; labels differ: {row.label} here, {first.label} there"


def _demand_images(kept: list[Row], classes: Sequence[str]) -> None:
    """Raise `UserError` unless every split has an image and every class a training image."""
    for split in SPLITS:
        if all(row.split != split for row in kept):
            hint = "" if split == "train" else f"; merge.{split}.fraction=0.2 draws one from the training images"
            raise UserError(f"the {split} split is empty: no source brings an image to it{hint}")
    trained = {row.label for row in kept if row.split == "train"}
    for name in classes:
        if name not in trained:
            raise UserError(f"class '{name}' has no training image; correct data.classes or data.label_map")
