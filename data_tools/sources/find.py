"""From the config of a source to the source: the registry of kinds, and the lookup below `data.root`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, get_type_hints

from data_tools.sources.base import Source
from data_tools.sources.cifar import CifarBatches, batch_split, is_batch, is_hundred
from data_tools.sources.class_folders import ClassFolders, is_image_name
from data_tools.sources.contained import surveyed
from data_tools.sources.containers import ARCHIVE_SUFFIXES, Container, Folder, LoneFile, Member, damaged, open_container
from data_tools.sources.digits import Digits
from data_tools.sources.fer_csv import FerCsv, is_csv_name
from data_tools.sources.fer_plus import FerPlus, Policy
from data_tools.sources.idx import LARGEST, IdxImages, idx_name
from data_tools.sources.listed import ListedImages
from data_tools.sources.toy_faces import ToyFaces
from foundation.errors import UserError
from foundation.schema import build, closest, converted

NAMES = "ferplus_names_by_file.csv"  # below data.root: which rows of FER+ belong to which files


def files(
    name: str,
    root: str,
    stem: str | list[str] | None = None,
    split_from_name: bool | str = False,
    classes: Collection[str] = (),
    label: str | None = None,
) -> Source:
    """What lies below `root` under the name `stem`, the first of several that is there (None: the source's name).

    A folder, archive or file. The first image in it makes it class folders, with the options of `ClassFolders`; else
    it is MNIST's or CIFAR's files, or the FER table, by the names of its files. The stem `.` is `root` itself, if it
    has such files. With `split_from_name` FER-2013's names of splits are read where the files have them: they begin
    with them, or the table has the column `Usage`; if it is not "auto", they must have them. Raises `UserError` for an
    option that is not used by what is found.
    """
    if split_from_name not in (True, False, "auto"):
        raise UserError(f"data.sources.{name}.split_from_name must be true, false or auto, not {split_from_name!r}")
    container = _opened(name, root, [name] if stem is None else [stem] if isinstance(stem, str) else list(stem))
    must_name = split_from_name is True
    seen: list[Member] = []
    with damaged(container.path):
        for member in surveyed(container, lambda path: idx_name(path) is not None or is_batch(path), LARGEST):
            if is_image_name(member.path):
                return ClassFolders(name, container, bool(split_from_name), classes, label, must_name)
            seen.append(member)
    files = [member.path for member in seen if member.open is not None]
    options = {"label": label is not None, "split_from_name": must_name}
    if any(map(idx_name, files)):
        _refuse(name, options, f"{container.path} has MNIST's files, which name their labels and splits")
        return IdxImages(name, container, seen)
    if is_hundred(files) or any(map(batch_split, files)):
        _refuse(name, options, f"{container.path} has CIFAR's files, which name their labels and splits")
        return CifarBatches(name, container, seen)
    if isinstance(container, LoneFile) or any(map(is_csv_name, files)):
        _refuse(name, {"label": label is not None}, f"{container.path} is or has a table, which names the labels")
        return FerCsv(name, container, seen, must_name)
    return ClassFolders(name, container, bool(split_from_name), classes, label, must_name)


def _refuse(name: str, given: dict[str, bool], reason: str) -> None:
    """Raise `UserError` for an option that is given and not used."""
    for option in (option for option, is_given in given.items() if is_given):
        raise UserError(f"data.sources.{name}.{option} is not used: {reason}; leave the option out")


def _opened(name: str, root: str, stems: list[str]) -> Container:
    folder = Path(root).expanduser()
    named = [stem for stem in stems if stem != "."]
    for stem in named:
        try:
            return open_container(locate(name, root, stem))
        except UserError:
            if stem == named[-1] and not ("." in stems and _has_arrays(folder)):
                raise
    return Folder(folder, deep=False)


def _has_arrays(folder: Path) -> bool:
    """Whether MNIST's or CIFAR's files lie directly in the folder."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return any(map(idx_name, names)) or any(map(batch_split, names))


def listed(
    name: str,
    root: str,
    stem: str | None = None,
    table: str | None = None,
    columns: dict[str, Any] | None = None,
    images: str | None = None,
    tables: dict[str, str] | None = None,
) -> Source:
    """Images that tables list as `path,label[,split]`: see `ListedImages`, also for `table`, `tables` and `columns`.

    `images` is a folder or archive apart from the table, as an absolute path, or relative to `root` or else to the
    current folder.
    """
    container = open_container(locate(name, root, stem or name))
    if images is None:
        return ListedImages(name, container, table, columns, None, tables)
    given = Path(images).expanduser()
    places = [Path(root).expanduser() / given, given]
    found = next((place for place in places if place.exists()), None)
    if found is None or isinstance(apart := open_container(found), LoneFile):
        where = " or ".join(map(str, places[:1] if given.is_absolute() else places))
        raise UserError(f"data.sources.{name}.images: there is no folder or archive {where}")
    return ListedImages(name, container, table, columns, apart, tables)


def fer_plus(
    name: str,
    root: str,
    images: str = "fer2013",
    votes: str = "fer2013new.csv",
    names: str = NAMES,
    **policy: Any,
) -> Source:
    """FER-2013 under the labels of FER+: see `FerPlus` and, for the other options, `Policy`.

    `images` is the stem of FER-2013 below `root`, `votes` and `names` are files there.
    """
    source = files(name, root, images, "auto")
    if isinstance(source, FerCsv) and names != NAMES:
        raise UserError(
            f"data.sources.{name}.names is not used: the votes are joined to a table by its rows; leave the option out"
        )
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


def digits(name: str, root: str) -> Source:
    """The digits of scikit-learn; `root` is not used."""
    return Digits(name)


# A new kind of source: write its class, add a line here, name it as `kind` in a YAML of conf/data.
KINDS: dict[str, Callable[..., Source]] = {
    "files": files,
    "digits": digits,
    "fer_plus": fer_plus,
    "listed": listed,
    "toy_faces": toy_faces,
}


def make_source(name: str, root: str, options: dict[str, Any], classes: Collection[str] = ()) -> Source:
    """The source `name` from its config: `kind` selects the factory, and the other keys are its options.

    `classes` are all names that mean a class; a kind that has to find class folders is given them. Raises `UserError`
    for an unknown kind or option, and if the data is missing.
    """
    options = dict(options)
    kind = options.pop("kind", "files")
    if kind not in KINDS:
        near = closest(str(kind), KINDS)
        meant = f"did you mean '{near}'? All: " if near else "choose one of "
        raise UserError(f"data.sources.{name}.kind: there is no kind '{kind}'; {meant}{', '.join(KINDS)}")
    if "classes" in options:
        raise UserError(f"data.sources.{name}.classes: there is no such option; data.classes names the classes")
    if classes and "classes" in inspect.signature(KINDS[kind]).parameters:
        options.setdefault("classes", classes)
    return _call(KINDS[kind], name, root, **options)


def locate(name: str, root: str, stem: str) -> Path:
    """Path of the folder, archive or CSV with exactly this stem; a folder is preferred to an archive.

    Raises `UserError` naming what was searched for and where.
    """
    folder = Path(root).expanduser()
    if (folder / stem).exists():  # also a file, with its suffix or without one
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
