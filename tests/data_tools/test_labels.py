"""The label map."""

from pathlib import Path
from random import Random

import pytest
from drawn import configured, files_of, png, prepared, write_tree
from hypothesis import given
from hypothesis import strategies as st

from data_tools.reading.labels import ALIASES, LabelMap, normalise
from foundation.errors import UserError

names = st.text(min_size=1).filter(lambda name: name.strip())


def test_aliases_and_case() -> None:
    labels = LabelMap(["angry", "happy"], {"contentment": "happy"})
    assert [labels(name) for name in ("ANGRY", " anger ", "Happiness", "Contentment")] == ["angry"] * 2 + ["happy"] * 2
    assert labels("sad") is None
    assert labels("sadness") is None


def test_a_class_named_like_an_alias_is_itself() -> None:
    assert LabelMap(["joy", "happy"])("joy") == "joy"


def test_own_entries_win_over_aliases() -> None:
    assert LabelMap(["happy", "angry"], {"joy": "angry"})("joy") == "angry"


@pytest.mark.parametrize(
    ("classes", "extra", "message"),
    [
        ([], {}, "at least one class"),
        (["cat", "Cat"], {}, "none twice"),
        (["cat"], {"feline": "lion"}, "'lion' is no class"),
        (["cat", "dog"], {"Cat": "dog"}, "is itself a class"),
    ],
)
def test_bad_maps(classes: list[str], extra: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        LabelMap(classes, extra)


@given(st.lists(names, min_size=1, max_size=5), names)
def test_every_class_leads_to_itself_and_nothing_else_comes_out(classes: list[str], raw: str) -> None:
    try:
        labels = LabelMap(classes)
    except UserError:
        assert len({name.strip().casefold() for name in classes}) < len(classes)
        return
    assert [labels(name.upper().lower()) in (name, None) for name in classes]
    assert [labels(name) for name in classes] == classes
    assert labels(raw) is None or labels(raw) in classes


@given(st.lists(names, min_size=1, max_size=5), st.dictionaries(names, names, max_size=4), st.randoms())
def test_any_map_leads_where_it_says_or_is_refused(classes: list[str], extra: dict[str, str], random: Random) -> None:
    extra |= {raw: random.choice(classes) for raw in list(extra)[::2]}
    try:
        labels = LabelMap(classes, extra)
    except UserError as error:
        assert "\n" not in str(error)  # noqa: PT017 - a refusal is one of two right outcomes
        assert str(error).startswith(("data.classes", "data.label_map"))  # noqa: PT017
        return
    for name in classes:
        assert labels(f" {name}\t") == name
    for raw, name in extra.items():
        same = [other for other in extra if normalise(other) == normalise(raw)]
        assert labels(raw) == (name if len(same) == 1 else extra[same[-1]])
    assert [labels(alias) in (*classes, None) for alias in ALIASES]


@given(names, st.lists(st.sampled_from(sorted(ALIASES)), unique=True))
def test_aliases_never_win(name: str, own: list[str]) -> None:
    classes = [*own, name] if normalise(name) not in own else own
    labels = LabelMap(classes or [name])
    for alias in own:
        assert labels(alias.upper()) == alias


def test_unknown_label_is_set_aside(root: Path) -> None:
    files = files_of({"train": 2, "validation": 1, "test": 1})
    write_tree(root / "tiny", files | {"train/fish/0.png": png(99), "train/feline/0.png": png(98)})
    pack = prepared(configured(root, "tiny", data={"label_map": {"feline": "cat"}}))
    (row,) = pack.where(status="set_aside")
    assert (row.raw_label, row.label, row.reason) == ("fish", "", "unknown label 'fish'")
    assert pack.by_id["tiny:train/feline/0.png"].label == "cat"
