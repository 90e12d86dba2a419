"""`python -m data_tools.packs`: list the packs, and remove those that are named."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from omegaconf import DictConfig
from rich.markup import escape
from rich.table import Table

from data_tools.packs.listing import Found, age_of, packs_in, remove, size_of
from data_tools.packs.tables import console
from foundation.config import plain
from foundation.entry import entry
from foundation.errors import UserError
from foundation.schema import build

_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass
class PacksSettings:
    """The options of the command."""

    pack_dir: str = "packs"
    older_than: str | None = None
    remove: list[str] | str | None = None


@entry("packs", {"": (PacksSettings,)})
def main(config: DictConfig) -> None:
    """Print the packs, or remove those that `remove` names and print their names."""
    settings = build(PacksSettings, plain(config), "")
    pack_dir = Path(settings.pack_dir).expanduser()
    if not pack_dir.is_dir():
        raise UserError(f"pack_dir={settings.pack_dir}: there is no such folder")
    least = 0 if settings.older_than is None else seconds(settings.older_than)
    packs = [pack for pack in packs_in(pack_dir) if age_of(pack.folder) >= least]
    if settings.remove is None:
        _show(packs, pack_dir)
        return
    patterns = [settings.remove] if isinstance(settings.remove, str) else settings.remove
    named = _named(patterns, packs, pack_dir)
    sizes = {name: size_of(pack_dir / name) for name in named}
    remove(pack_dir, named)
    for name, size in sizes.items():
        print(f"removed {pack_dir / name} ({_megabytes(size)})")


def seconds(text: str) -> float:
    """The seconds of an age such as 30d. Raises `UserError` for other text."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", text.strip().lower())
    if found is None:
        raise UserError(f"older_than={text}: give a number and m, h, d or w for minutes, hours, days or weeks: 30d")
    return float(found[1]) * _SECONDS[found[2]]


def _named(patterns: list[str], packs: list[Found], pack_dir: Path) -> list[str]:
    """The names that the patterns stand for, each once. Raises `UserError` for a pattern without a pack."""
    named: dict[str, None] = {}
    for pattern in patterns:
        fitting = [pack.folder.name for pack in packs if fnmatchcase(pack.folder.name, pattern)]
        if not fitting:
            raise UserError(f"remove={pattern}: {pack_dir} has no such pack; python -m data_tools.packs lists them")
        named |= dict.fromkeys(fitting)
    return list(named)


def _show(packs: list[Found], pack_dir: Path) -> None:
    table = Table("pack", title=f"Packs in {escape(str(pack_dir))}", title_justify="left")
    for column in ("images", "size", "age"):
        table.add_column(column, justify="right")
    table.add_column("made of", overflow="fold")
    total = 0
    for pack in packs:
        size = size_of(pack.folder)
        total += size
        table.add_row(
            escape(pack.folder.name), f"{pack.images:,}", _megabytes(size), _age(age_of(pack.folder)),
            escape(pack.origin or "-"),
        )  # fmt: skip
    out = console()
    if packs:
        out.print(table)
    out.print(
        f"{len(packs)} packs, {_megabytes(total)}; python -m data_tools.packs remove=NAME removes one",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _age(age: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if age >= 2 * unit:
            return f"{age / unit:.0f} {name}"
    return f"{age:.0f} seconds"


if __name__ == "__main__":
    main()
