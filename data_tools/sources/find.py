"""From the config of a source to the source: the registry of kinds, and the lookup below `data.root`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

from data_tools.sources.base import Source
from data_tools.sources.class_folders import ClassFolders, is_image_name
from data_tools.sources.containers import ARCHIVE_SUFFIXES, open_container
from data_tools.sources.fer_csv import FerCsv, is_csv_name
from data_tools.sources.fer_plus import FerPlus, Policy
from data_tools.sources.listed import ListedImages
from data_tools.sources.toy_faces import ToyFaces
from foundation.errors import UserError
from foundation.schema import build, closest, converted


def files(name: str, root: str, stem: str | None = None, split_from_name: bool = False) -> Source:
    """The folder, archive or CSV below `root` whose stem is `stem` (the source's name if None).

    If it holds an image, it is read as class folders, else as the FER table. `split_from_name`: see `ClassFolders`.
    """
    container = open_container(locate(name, root, stem or name))
    has_table = False
    for member in container.members():
        if is_image_name(member.path):
            return ClassFolders(name, container, split_from_name)
        has_table = has_table or is_csv_name(member.path)
    return FerCsv(name, container) if has_table else ClassFolders(name, container, split_from_name)


def listed(
    name: str, root: str, stem: str | None = None, table: str | None = None, columns: dict[str, str] | None = None
) -> Source:
    """Images that a CSV lists as `path,label[,split]`: see `ListedImages`.

    `table` is the name of the CSV if there are several; `columns` maps the three column names to those of the CSV.
    """
    return ListedImages(name, open_container(locate(name, root, stem or name)), table, columns)


def fer_plus(
    name: str,
    root: str,
    images: str = "fer2013",
    votes: str = "fer2013new.csv",
    names: str = "ferplus_names_by_file.csv",
    **policy: Any,
) -> Source:
    """FER-2013 under the labels of FER+: see `FerPlus` and, for the other options, `Policy`.

    `images` is the stem of FER-2013 below `root`, `votes` and `names` are files there.
    """
    source = files(name, root, images, split_from_name=True)
    folder = Path(root).expanduser()
    found = next((path for path in (folder / votes, folder / f"ferplus_{votes}") if path.is_file()), None)
    if found is None:
        raise UserError(
            f"data source '{name}': there is no {votes} in data.root={root}; put FER+'s table of votes there "
            f"(docs/datasets.md says where to get it)"
        )
    chosen = build(Policy, policy, f"data.sources.{name}")
    return FerPlus(name, source, found, folder / names if (folder / names).is_file() else None, chosen)


def toy_faces(name: str, root: str, **options: Any) -> Source:
    """Drawn faces; `root` is not used. The options are those of `ToyFaces`."""
    return _call(ToyFaces, name, **options)


# A new kind of source: write its class, add a line here, name it as `kind` in a YAML of conf/data.
KINDS: dict[str, Callable[..., Source]] = {
    "files": files,
    "fer_plus": fer_plus,
    "listed": listed,
    "toy_faces": toy_faces,
}


def make_source(name: str, root: str, options: dict[str, Any]) -> Source:
    """The source `name` from its config: `kind` selects the factory, and the other keys are its options.

    Raises `UserError` for an unknown kind or option, and if the data is missing.
    """
    options = dict(options)
    kind = options.pop("kind", "files")
    if kind not in KINDS:
        near = closest(str(kind), KINDS)
        meant = f"did you mean '{near}'? All: " if near else "choose one of "
        raise UserError(f"data.sources.{name}.kind: there is no kind '{kind}'; {meant}{', '.join(KINDS)}")
    return _call(KINDS[kind], name, root, **options)


def locate(name: str, root: str, stem: str) -> Path:
    """Path of the folder, archive or CSV with exactly this stem; a folder is preferred to an archive.

    Raises `UserError` naming what was searched for and where.
    """
    folder = Path(root).expanduser()
    if (folder / stem).is_dir():
        return folder / stem
    for suffix in (*ARCHIVE_SUFFIXES, ".csv"):
        path = folder / f"{stem}{suffix}"
        if path.is_file():
            return path
    raise UserError(
        f"data source '{name}': there is no folder {stem}/, archive {stem}.zip, {stem}.tar.gz or {stem}.tar.xz, "
        f"nor {stem}.csv in data.root={root}; put the download there or set data.root=FOLDER "
        f"(docs/datasets.md says where to get it)"
    )


def _call(factory: Callable[..., Source], name: str, *arguments: str, **options: Any) -> Source:
    where = f"data.sources.{name}"
    try:
        inspect.signature(factory).bind(name, *arguments, **options)
    except TypeError as error:  # of the binding only: a TypeError raised by the factory is a bug
        near = next((closest(key, _known(factory)) for key in options if key not in _known(factory)), None)
        raise UserError(f"{where}: {error}{f'; did you mean {near!r}?' if near else ''}") from error
    hints = get_type_hints(getattr(factory, "__init__") if isinstance(factory, type) else factory)  # noqa: B009
    ready = {key: converted(value, hints.get(key, Any), f"{where}.{key}") for key, value in options.items()}
    return factory(name, *arguments, **ready)


def _known(factory: Callable[..., Source]) -> list[str]:
    """The names of the factory's options."""
    return list(inspect.signature(factory).parameters)[1:]
