"""What MNIST's and CIFAR's files hold, by their headers and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_tools.sources.base import SPLITS
from data_tools.sources.cifar import batch_split, class_names, is_hundred
from data_tools.sources.detected import Detected, classes_line, in_order, splits_line
from data_tools.sources.idx import begun, header, idx_name, parse, unpacked
from data_tools.sources.looks import bounded
from data_tools.sources.safe_pickle import PickleError
from foundation.errors import UserError


def detect_idx(path: Path, files: Mapping[str, bytes]) -> Detected:
    """MNIST's files: their paths and contents, of images the beginning. Raises `UserError` for a damaged one."""
    shapes, labels, splits = set(), Counter[str](), Counter[str]()
    for file, data in files.items():
        name = idx_name(file)
        assert name is not None
        try:
            if name.what == "images":
                shapes.add(header(begun(data))[1:])
            elif name.split not in splits:
                numbers = parse(unpacked(data), 1)
                splits[name.split] = len(numbers)
                labels.update(map(str, numbers.tolist()))
        except ValueError as error:
            raise UserError(f"{file} in {path} {error}") from error
    if len(shapes) != 1 or not labels:
        raise UserError(f"{path} needs IDX files of images of one size, and of labels")
    height, width = shapes.pop()
    classes = tuple(sorted(labels, key=int))
    lines = [
        f"{path}: {sum(splits.values()):,} images in IDX files like MNIST's, {height} x {width} pixels, grey.",
        classes_line(classes),
        splits_line(splits),
    ]
    side = bounded(round((height * width) ** 0.5))
    return Detected("files", {"stem": path.name}, classes, in_order(splits), side, 1, tuple(lines))


def detect_cifar(path: Path, batches: Sequence[str], names_file: bytes, classes: Sequence[str]) -> Detected:
    """CIFAR's files: their paths, and the content of the one with the names. Raises `UserError` if that is damaged."""
    hundred = is_hundred(batches)
    splits = {batch_split(file, hundred): 0 for file in batches}
    try:
        names = class_names(names_file) if names_file else [str(number) for number in range(10)]
    except (PickleError, ValueError) as error:
        raise UserError(f"{path}: its file of class names cannot be read: it {error}") from error
    found = tuple(split for split in SPLITS if split in splits)
    lines = [
        f"{path}: CIFAR-{100 if hundred else 10}'s batches; 32 x 32 pixels, colour.",
        classes_line(names),
        f"Splits: {', '.join(found)}{'; validation is drawn from train' if 'train' in found else ''}.",
    ]
    return Detected("files", {"stem": path.name}, tuple(classes or names), found, 32, 3, tuple(lines))
