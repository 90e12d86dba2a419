"""FER+: votes to labels by each rule, joined to rows and to files; and what does not fit together."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from drawn import Pack, configured, encoded, pixels, prepared, write_tree
from hypothesis import given
from hypothesis import strategies as st

from data_tools.config import MergeConfig
from data_tools.merging.conflicts import resolve_conflicts
from data_tools.prepare import prepare
from data_tools.reading.manifest import Row
from data_tools.sources.csv_rows import RowError
from data_tools.sources.fer_plus import LABELS, RULES, Policy, label_of, parse_count
from foundation.errors import UserError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
USAGES = ("Training", "Training", "Training", "PublicTest", "PrivateTest", "Training")
# One row an image: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt, unknown, NF.
VOTES = (
    (6, 3, 0, 0, 1, 0, 0, 0, 0, 0),
    (0, 4, 3, 0, 0, 0, 0, 0, 3, 0),
    (0, 0, 5, 0, 0, 0, 5, 0, 0, 0),
    (9, 0, 0, 0, 0, 0, 0, 1, 0, 0),
    (8, 0, 0, 0, 0, 0, 0, 0, 2, 0),
    (1, 0, 0, 0, 0, 0, 0, 0, 7, 2),
)
CODES = (0, 1, 2, 3, 4, 5)  # the labels of FER-2013 itself, which must not show through


def votes_table(votes: tuple[tuple[int, ...], ...] = VOTES, usages: tuple[str, ...] = USAGES) -> str:
    rows = enumerate(zip(usages, votes, strict=True))
    lines = [f"{usage},fer{i:07}.png,{','.join(map(str, row))}" for i, (usage, row) in rows]
    return "\n".join([HEADER, *lines]) + "\n"


def fer_table() -> str:
    rows = [
        f"{code},{' '.join(map(str, pixels(i, 48).ravel()))},{usage}"
        for i, (code, usage) in enumerate(zip(CODES, USAGES, strict=True))
    ]
    return "\n".join(["emotion,pixels,Usage", *rows]) + "\n"


def labelled(root: Path, **options: object) -> Pack:
    data = {
        "classes": ["neutral", "happy", "surprise", *options.pop("classes", [])],
        "sources": {"ferplus": {"kind": "fer_plus", **options}},
        "image_size": 48,
    }
    nothing = {"fraction": 0}
    return prepared(configured(root, data=data, test=nothing, validation=nothing))


def raw_labels(pack: Pack) -> dict[str, str]:
    return {row.path.rpartition(":")[2]: row.raw_label for row in pack.rows}


@pytest.fixture
def table(root: Path) -> Path:
    (root / "fer2013.csv").write_text(fer_table())
    (root / "fer2013new.csv").write_text(votes_table())
    return root


def reasons(pack: Pack) -> dict[str, str]:
    return {row.path.rpartition(":")[2]: row.reason for row in pack.where(status="set_aside")}


def draw_happy(root: Path) -> None:
    """The tied image becomes one for happiness and the rare one for surprise, so that every class has an image."""
    votes = (VOTES[0], VOTES[1], (0, 0, 6, 0, 0, 0, 4, 0, 0, 0), *VOTES[3:])
    (root / "fer2013new.csv").write_text(votes_table(votes))


def test_majority(table: Path) -> None:
    draw_happy(table)
    pack = labelled(table)
    assert raw_labels(pack) == {
        "1": "neutral", "2": "happiness", "3": "surprise", "4": "neutral", "5": "neutral", "6": "",
    }  # fmt: skip
    assert reasons(pack) == {"6": "most votes are for 'unknown' (7 of 10)"}
    assert pack.by_id["ferplus:fer2013.csv:2"].label == "happy"


def test_a_tie_is_set_aside(table: Path) -> None:
    (table / "fer2013new.csv").write_text(votes_table((*VOTES[:5], (0, 1, 9, 0, 0, 0, 0, 0, 0, 0))))
    assert reasons(labelled(table)) == {"3": "the votes are tied ('surprise, fear', 5 of 10 each)"}


def test_threshold(table: Path) -> None:
    votes = (*VOTES[:2], (0, 0, 9, 0, 0, 0, 1, 0, 0, 0), *VOTES[3:5], (0, 6, 4, 0, 0, 0, 0, 0, 0, 0))
    (table / "fer2013new.csv").write_text(votes_table(votes))
    pack = labelled(table, rule="threshold", threshold=0.6)
    assert reasons(pack) == {"2": "no label has 60% of the votes ('happiness', 4 of 10)"}
    assert raw_labels(pack)["1"] == "neutral"  # 6 of 10 is enough


def test_unknown_and_not_a_face_can_be_kept(table: Path) -> None:
    votes = (*VOTES[:2], (0, 0, 9, 0, 0, 0, 1, 0, 0, 0), *VOTES[3:])
    (table / "fer2013new.csv").write_text(votes_table(votes))
    pack = labelled(table, unknown="keep", classes=["unknown"])
    assert pack.by_id["ferplus:fer2013.csv:6"].label == "unknown"
    assert not reasons(pack)
    faceless = (*votes[:5], (1, 0, 0, 0, 0, 0, 0, 0, 2, 7))
    (table / "fer2013new.csv").write_text(votes_table(faceless))
    assert reasons(labelled(table)) == {"6": "most votes are for 'not a face' (7 of 10)"}
    pack = labelled(table, not_a_face="keep", classes=["not a face"])
    assert pack.by_id["ferplus:fer2013.csv:6"].label == "not a face"


def test_labels_are_drawn_by_the_shares_of_the_votes_and_the_same_each_time() -> None:
    counts = (6, 3, 0, 0, 1, 0, 0, 0, 0, 0)
    policy = Policy("probability")
    drawn = Counter(label_of(counts, policy, str(key)) for key in range(4000))
    assert set(drawn) == {"neutral", "happiness", "anger"}
    for label, share in (("neutral", 0.6), ("happiness", 0.3), ("anger", 0.1)):
        assert abs(drawn[label] / 4000 - share) < 5 * (share * (1 - share) / 4000) ** 0.5
    again = [label_of(counts, policy, str(key)) for key in range(50)]
    assert again == [label_of(counts, policy, str(key)) for key in range(50)]
    assert again != [label_of(counts, Policy("probability", seed=1), str(key)) for key in range(50)]


def test_unknown_is_never_drawn_unless_it_is_kept() -> None:
    counts = (0, 5, 0, 0, 0, 0, 0, 0, 4, 1)
    assert {label_of(counts, Policy("probability"), str(key)) for key in range(200)} == {"happiness"}
    kept = Policy("probability", unknown="keep", not_a_face="keep")
    assert {label_of(counts, kept, str(key)) for key in range(200)} == {"happiness", "unknown", "not a face"}


@given(
    st.lists(st.integers(0, 10), min_size=10, max_size=10), st.sampled_from(RULES), st.floats(0.01, 1), st.booleans()
)
def test_any_votes_give_a_label_that_was_voted_for_or_a_reason(
    counts: list[int], rule: str, threshold: float, drop: bool
) -> None:
    fate = "drop" if drop else "keep"
    try:
        label = label_of(counts, Policy(rule, threshold, 0, fate, fate), "x")
    except RowError:
        return
    count = counts[LABELS.index(label)]
    assert count > 0
    if rule != "probability":
        assert count == max(counts)
        assert counts.count(count) == 1
    if rule == "threshold":
        assert count >= threshold * sum(counts)
    if drop:
        assert label not in ("unknown", "not a face")


@given(st.text() | st.integers(-5, 2000).map(str))
def test_any_count_is_a_number_or_refused(text: str) -> None:
    if text.isascii() and text.isdigit() and int(text) <= 1000 and len(text) < 5:
        assert parse_count(text, "fear") == int(text)
    else:
        with pytest.raises(RowError, match="fear is"):
            parse_count(text, "fear")


def faces(root: Path, *, repeated: bool = False) -> None:
    """FER-2013 as files, of which the last shows the image of the first if `repeated`."""
    folders = {"Training": "train", "PublicTest": "test", "PrivateTest": "test"}  # as the download has them
    files, names = {}, ["split,fer_files,ferplus_names,unambiguous"]
    for i, usage in enumerate(USAGES):
        seed = 0 if repeated and i == 1 else i
        files[f"{folders[usage]}/class{CODES[i]}/{usage}_{i}.png"] = encoded(pixels(seed, 48))
        if not (repeated and i < 2):
            names.append(f"x,elsewhere/class{CODES[i]}/{usage}_{i}.png,fer{i:07}.png,1")
    if repeated:
        names.append("x,a/class0/Training_0.png;a/class1/Training_1.png,fer0000000.png;fer0000001.png,0")
    write_tree(root / "fer2013", files)
    (root / "ferplus_names_by_file.csv").write_text("\n".join(names) + "\n")
    (root / "fer2013new.csv").write_text(votes_table())


def test_files_are_joined_by_their_names_to_the_same_labels_as_rows(root: Path) -> None:
    faces(root)
    draw_happy(root)
    by_file = {row.path.rpartition("_")[2][0]: row.raw_label for row in labelled(root).rows}
    (root / "elsewhere").mkdir()
    (root / "elsewhere/fer2013.csv").write_text(fer_table())
    draw_happy(root / "elsewhere")
    by_row = raw_labels(labelled(root / "elsewhere"))
    assert by_file == {str(int(number) - 1): label for number, label in by_row.items()}


def test_one_image_in_several_files_gets_the_sum_of_their_votes(root: Path) -> None:
    faces(root, repeated=True)
    (root / "fer2013new.csv").write_text(
        votes_table(((0, 4, 6, 0, 0, 0, 0, 0, 0, 0), (1, 9, 0, 0, 0, 0, 0, 0, 0, 0), (9, 0, 0, 0, 0, 0, 1, 0, 0, 0),
                     *VOTES[3:5], (0, 0, 7, 0, 0, 0, 0, 0, 3, 0)))
    )  # fmt: skip
    pack = labelled(root)
    assert {row.raw_label for row in pack.rows if "Training_0" in row.path or "Training_1" in row.path} == {"happiness"}


def test_a_file_that_nothing_names_is_set_aside(root: Path) -> None:
    faces(root)
    draw_happy(root)
    write_tree(root / "fer2013", {"train/class0/Training_99.png": encoded(pixels(99, 48))})
    (row,) = labelled(root).where(path="train/class0/Training_99.png")
    assert (row.status, row.reason) == ("set_aside", "ferplus_names_by_file.csv does not name it")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("PublicTest,a.png,10,0,0,0,0,0,0,0,0,0", "has it in validation, and the images in another split"),
        ("Holiday,a.png,10,0,0,0,0,0,0,0,0,0", "row 7 of fer2013new.csv: Usage 'Holiday'"),
        ("Training,a.png,ten,0,0,0,0,0,0,0,0,0", "row 7 of fer2013new.csv: neutral is 'ten', not a number of votes"),
        ("Training,a.png,-1,0,0,0,0,0,0,0,0,0", "neutral is '-1'"),
        ("Training,a.png,nan,0,0,0,0,0,0,0,0,0", "neutral is 'nan'"),
        ("Training,a.png,0,0,0,0,0,0,0,0,0,0", "no votes"),
        ("Training,a.png,1,2", "row 7 of fer2013new.csv: has 4 fields instead of 12"),
        ("", "fer2013new.csv has no row 7"),
    ],
)
def test_votes_that_do_not_fit(table: Path, row: str, reason: str) -> None:
    draw_happy(table)
    with (table / "fer2013.csv").open("a") as file:
        file.write(f"0,{' '.join(['7'] * 2304)},Training\n")
    with (table / "fer2013new.csv").open("a") as file:
        file.write(row + "\n")
    assert reason in reasons(labelled(table))["7"]


def test_a_bad_image_keeps_its_own_reason(table: Path) -> None:
    draw_happy(table)
    with (table / "fer2013.csv").open("a") as file:
        file.write("0,1 2 3,Training\n")
    assert "3 pixels" in reasons(labelled(table))["7"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "best"}, r"data\.sources\.ferplus\.rule: must be one of majority, probability, threshold, got best"),
        ({"threshold": 0}, r"ferplus\.threshold: must be above 0"),
        ({"unknown": "maybe"}, r"ferplus\.unknown: must be drop or keep, got maybe"),
        ({"votes": "other.csv"}, r"there is no other\.csv in data\.root="),
        ({"speed": 3}, "speed'"),
    ],
)
def test_wrong_options(table: Path, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        labelled(table, **options)


def test_files_without_names(root: Path) -> None:
    faces(root)
    (root / "ferplus_names_by_file.csv").unlink()
    with pytest.raises(UserError, match=r"ferplus\.names: .* use fer2013\.csv"):
        labelled(root)


def test_a_file_named_twice(root: Path) -> None:
    faces(root)
    with (root / "ferplus_names_by_file.csv").open("a") as file:
        file.write("x,a/class0/Training_0.png,fer0000003.png,1\n")
    with pytest.raises(UserError, match=r"row 7: class0/Training_0\.png has had a row before"):
        labelled(root)


def test_votes_without_a_column(table: Path) -> None:
    (table / "fer2013new.csv").write_text(votes_table().replace("contempt", "doubt"))
    with pytest.raises(UserError, match=r"fer2013new\.csv has no column 'contempt'"):
        labelled(table)


def test_other_votes_are_another_state_of_the_source(table: Path) -> None:
    draw_happy(table)
    config = configured(
        table,
        data={"classes": ["neutral", "happy", "surprise"], "image_size": 48, "sources": {"f": {"kind": "fer_plus"}}},
    )
    first = Pack(prepare(config)).json["sources"]
    votes = table / "fer2013new.csv"
    votes.write_text(votes.read_text().replace("0,0,6,0,0,0,4,0", "0,0,10,0,0,0,0,0"))
    assert Pack(prepare(config)).json["sources"] != first


# --- soft labels ----------------------------------------------------------------------------------------------------


def test_soft_labels_are_the_votes_for_classes(table: Path) -> None:
    draw_happy(table)
    for soft in (False, True):
        pack = labelled(table, soft=soft)
        assert (pack.folder / "targets.npy").is_file() == soft
    targets = np.load(pack.folder / "targets.npy")
    found = {row.path.rpartition(":")[2]: targets[row.pack_row] for row in pack.rows if row.pack_row is not None}
    expected = {  # neutral, happy, surprise; votes for other emotions and for no emotion do not count
        "1": [6 / 9, 3 / 9, 0], "2": [0, 4 / 7, 3 / 7], "3": [0, 0, 1], "4": [1, 0, 0], "5": [1, 0, 0],
    }  # fmt: skip
    assert found.keys() == expected.keys()
    for number, target in found.items():
        np.testing.assert_allclose(target, expected[number], atol=1e-6)
    assert [pack.json["classes"][label] for label in pack.labels] == [
        row.label for row in sorted((row for row in pack.rows if row.packed), key=lambda row: row.pack_row or 0)
    ]


def test_soft_labels_of_copies_are_those_of_the_image(table: Path) -> None:
    draw_happy(table)
    data = {
        "classes": ["neutral", "happy", "surprise"],
        "sources": {"ferplus": {"kind": "fer_plus", "soft": True}},
        "image_size": 48,
    }
    nothing = {"fraction": 0}
    balance = {"method": "oversample"}
    extra = VOTES[0], VOTES[1], (0, 0, 6, 0, 0, 0, 4, 0, 0, 0), *VOTES[3:5], (7, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    (table / "fer2013new.csv").write_text(votes_table(extra))
    pack = prepared(configured(table, data=data, test=nothing, validation=nothing, balance=balance))
    targets, made = np.load(pack.folder / "targets.npy"), pack.where(status="made")
    assert made
    for row in made:
        np.testing.assert_array_equal(targets[row.pack_row], targets[pack.by_id[row.parent].pack_row])


def test_a_relabelled_image_has_no_votes_for_its_old_label() -> None:
    rows = [Row(f"a:{i}", "a", str(i), "train", "x", label, split="train", votes="{}") for i, label in enumerate("xyy")]
    for row in rows:
        row.votes = '{"x": 0.6, "y": 0.4}'
    resolve_conflicts([rows], MergeConfig(conflicts="majority"))
    assert [(row.label, bool(row.votes)) for row in rows] == [("y", False), ("y", True), ("y", True)]
