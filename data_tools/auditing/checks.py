"""What an audit looks for, as counts with their meaning: the cards of the page, and what `fail_on` can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NEVER = "never"


@dataclass(frozen=True, slots=True)
class Check:
    """One kind of trouble: how many images, files, groups or classes have it, what that means, and what to do."""

    name: str
    title: str
    count: int
    unit: str  # of the count, singular or plural
    meaning: str
    advice: str


NAMES = ("leak", "conflict", "duplicate", "unreadable", "blank", "missing")


def checks(numbers: Mapping[str, Any]) -> list[Check]:
    """All checks from the content of `audit.json`, in the order of the page."""
    merged: bool = numbers["merged"]
    texts = {
        "leak": (
            "Leaks between splits",
            (f"{_evaluated(numbers)} image", f"{_evaluated(numbers)} images"),
            "Each has a duplicate in training, or in validation if it is a test image. A network may have learned it "
            "by heart, so its score there says nothing about new images.",
            "Choose another merge policy, such as merge=default."
            if merged
            else "Leave out the training images that keep.csv marks as duplicates. All validation and test images can "
            "stay.",
        ),
        "conflict": (
            "Labels in conflict",
            ("group of duplicates", "groups of duplicates"),
            "Its members have different labels: at least one of these is wrong, or the classes overlap.",
            "Look at the examples below. Correct the labels, or leave such images out of training.",
        ),
        "duplicate": (
            "Duplicates",
            ("image", "images"),
            "Each repeats another one. In training it counts twice; in a test it makes the score look more certain "
            "than it is.",
            "The merge keeps one of each group." if merged else "Keep one image of each group; keep.csv names it.",
        ),
        "unreadable": (
            "Set aside",
            ("file", "files"),
            "Damaged, of an unclear range of values, or without a known label.",
            "The table at the end has the reason for each. Repair or remove them.",
        ),
        "blank": (
            "Blank images",
            ("image", "images"),
            "One even colour, or nearly so: a network learns nothing from it.",
            "Look at them at the end, and leave them out of training.",
        ),
        "missing": (
            "Classes that a split lacks",
            ("missing class", "missing classes"),
            "A class without training images cannot be learned, and one without test images has no score.",
            f"Add images, or leave these classes out. {_missing(numbers['without_images'])}",
        ),
    }
    if leaks_of(numbers) is None:
        texts["leak"] = _OF_VALIDATION
    found = []
    for name in NAMES:
        title, (one, many), meaning, advice = texts[name]
        count = numbers["checks"][name]
        found.append(Check(name, title, count, one if count == 1 else many, meaning, advice))
    return found


def leaks_of(numbers: Mapping[str, Any]) -> bool | None:
    """Whether a validation or test image has a duplicate in training.

    None: none has, but a test image has one in validation. `numbers` is the content of `audit.json`.
    """
    leaks: int = numbers["checks"]["leak"]
    return None if leaks and leaks == numbers["test_in_validation"] else leaks > 0


def failed(numbers: Mapping[str, Any], fail_on: Sequence[str]) -> list[Check]:
    """The checks named by `fail_on` that found something."""
    return [check for check in checks(numbers) if check.name in fail_on and check.count]


def verdict(numbers: Mapping[str, Any]) -> str:
    """The most important finding in one sentence."""
    counts, total = numbers["checks"], sum(numbers["evaluated"].values())
    read = numbers["input"]["images"] - counts["unreadable"]
    if not read:
        return f"None of {_number(numbers['input']['images'], 'image')} could be read."
    none = f"{'After the merge no' if numbers['merged'] else 'No'} {_evaluated(numbers)} image was found"
    have, them = ("has", "it") if counts["leak"] == 1 else ("have", "them")
    if leaks_of(numbers) is None:
        tests = numbers["evaluated"]["test"]
        return (
            f"{none} in training, but {counts['leak']:,} of {_number(tests, 'test image')} "
            f"({100 * counts['leak'] / tests:.1f} %) {have} "
            "a duplicate in validation, by which the epoch is chosen."
        )
    if counts["leak"]:
        where = "training or validation" if numbers["test_in_validation"] else "training"
        when, images = ("After the merge " if numbers["merged"] else ""), _number(total, f"{_evaluated(numbers)} image")
        return (
            f"{when}{counts['leak']:,} of {images} "
            f"({100 * counts['leak'] / total:.1f} %) {have} a duplicate in {where}: "
            f"the score on {them} will be too good."
        )
    if numbers["merged"]:
        return f"{none} to have a duplicate in training."
    start = f"{none} in training" if total else "There are no splits to leak between"
    others = [f"{check.count:,} {check.unit} {text}" for check in checks(numbers) if (text := _short(check))]
    if not others:
        return f"{start}, and no duplicate was found among {_number(read, 'image')}."
    return f"{start}, but {' and '.join(others[:2])}."


_OF_VALIDATION = (
    "Leaks between splits",
    ("test image", "test images"),
    "Each has a duplicate in validation, and none in training. No network learns it, but the epoch and the options are "
    "chosen by validation, so the score can be a little too good.",
    "merge=fresh draws new splits, without such pairs. Published splits are compared with others as they are.",
)


def _short(check: Check) -> str:
    """What is wrong with the images of a check, to follow their number in a sentence; '' if there is none."""
    one, many = {
        "conflict": ("has more than one label", "have more than one label"),
        "duplicate": ("repeats another one", "repeat other ones"),
        "unreadable": ("could not be used", "could not be used"),
    }.get(check.name, ("", ""))
    return "" if not check.count else one if check.count == 1 else many


def _evaluated(numbers: Mapping[str, Any]) -> str:
    """The splits that are there to evaluate by, in words."""
    there = [name for name, number in numbers["evaluated"].items() if number]
    return " or ".join(there or numbers["evaluated"])


def _missing(without: Mapping[str, Sequence[str]]) -> str:
    parts = []
    for split, names in without.items():
        parts.append(f"{split} lacks {', '.join(names[:8])}{', and more' if len(names) > 8 else ''}")
    return "; ".join(parts)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
