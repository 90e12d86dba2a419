"""The names that people give to splits, as folders and in tables."""

from __future__ import annotations

import re

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "validate", "dev", "development", "publictest"),
    "test": ("test", "testing", "eval", "evaluation", "holdout", "heldout", "privatetest"),
}
_SPLITS = {word: split for split, words in _WORDS.items() for word in words}
_ENDINGS = ("set", "dir", "data", "images", "split", "folder")  # train_set, test-images, ValidationSet


def split_named(name: str) -> str | None:
    """The split that a name means, in any case and with such endings; None for other names.

    `eval` and `holdout` are test splits: nothing is selected on them.
    """
    word = re.sub(r"[\s_.-]+", "", name.casefold())
    while word not in _SPLITS:
        ending = next((each for each in _ENDINGS if word.endswith(each) and word != each), None)
        if ending is None:
            return None
        word = word.removesuffix(ending)
    return _SPLITS[word]


def known_names() -> str:
    """For messages: the words of each split."""
    return "; ".join(f"{split}: {', '.join(words)}" for split, words in _WORDS.items())
