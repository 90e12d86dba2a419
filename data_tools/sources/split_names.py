"""The names that people give to splits, as folders and in tables."""

from __future__ import annotations

import re

_WORDS = {
    "train": ("train", "training", "trainval"),
    "validation": ("validation", "val", "valid", "validate", "validating", "dev", "development", "publictest"),
    "test": ("test", "testing", "eval", "evaluation", "evaluate", "holdout", "heldout", "privatetest"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
# train_set, test-images, ValidationSet
_ENDINGS = ("set", "sets", "dir", "data", "images", "image", "imgs", "split", "folder", "files", "samples", "photos")


def split_named(name: str) -> str | None:
    """The split that a name means, in any case and with such endings or a number (`val2017`); None for other names.

    `eval` and `holdout` are test splits: nothing is selected on them.
    """
    word = re.sub(r"[\s_.-]+", "", name.casefold())
    word = re.sub(r"(?<=\D)\d{1,4}$", "", word)
    while word not in _SPLITS:
        ending = next((each for each in _ENDINGS if word.endswith(each) and word != each), None)
        if ending is None:
            return None
        word = word.removesuffix(ending)
    return _SPLITS[word]


def is_numbered(name: str) -> bool:
    """Whether a split's name ends in a number: beside one without, `train2` may be anything."""
    return name[-1:].isdigit() and split_named(name) is not None


def split_in(name: str) -> str | None:
    """The split that one word of a longer name means, as in `seg_train` or `test of pets`; None for other names.

    Such a name may also be a class (`bullet_train`), so it needs a second reason to be read as a split.
    """
    words = [word for word in re.split(r"[\s_.-]+", name) if word]
    found = {split_named(word) for word in (words[0], words[-1])} - {None} if len(words) > 1 else set()
    return found.pop() if len(found) == 1 else None


def known_names() -> str:
    """For messages: the words of each split."""
    return "; ".join(f"{split}: {', '.join(words)}" for split, words in _WORDS.items())
