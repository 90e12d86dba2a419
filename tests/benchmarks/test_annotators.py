"""How far people agree with FER-2013's labels, on votes counted by hand."""

import pytest

from benchmarks.annotators import main

HEAD = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF\n"
VOTES = """Training,fer0.png,0,9,0,0,0,0,0,0,1,0
Training,fer1.png,0,0,0,0,4,0,4,0,2,0
Training,fer2.png,0,0,0,0,1,0,1,8,0,0
Training,fer3.png,0,0,0,0,0,0,0,0,10,0
PrivateTest,fer4.png,6,0,0,4,0,0,0,0,0,0
PrivateTest,fer5.png,0,0,0,10,0,0,0,0,0,0
"""
NAMES = "split,fer_files,ferplus_names,unambiguous\n"


@pytest.fixture
def tables(tmp_path):
    def write(*rows):
        (tmp_path / "votes.csv").write_text(HEAD + VOTES)
        (tmp_path / "names.csv").write_text(NAMES + "".join(rows))
        return ["--votes", str(tmp_path / "votes.csv"), "--names", str(tmp_path / "names.csv")]

    return write


def rows_of(text):
    rows = [row for row in text.splitlines() if row.startswith("|")]
    return {cells[0]: cells[1:] for cells in ([c.strip() for c in row.split("|")[1:-1]] for row in rows)}


def test_votes_for_the_label_are_counted(tables, capsys):
    train = ("happy/0.jpg", "fear/1.jpg", "angry/2.jpg", "sad/3.jpg")
    rows = [f"train,train/{file},fer{number}.png,1\n" for number, file in enumerate(train)]
    assert main(tables(*rows, "test,test/sad/4.jpg;test/sad/5.jpg,fer4.png;fer5.png,0\n")) == 0
    found = rows_of(capsys.readouterr().out)
    classes = {"angry": "0.50", "disgust": "", "fear": "0.50", "happy": "1.00", "neutral": "", "sad": "0.00"}
    # 1 whole, two halves, and nothing of the image on which nobody saw an emotion; 0.9, 0.4, 0.1 and 0 of the votes
    assert found["train"] == ["4", "0.500", "0.350", *classes.values(), ""]
    # one image in two files: 6 votes for neutral and 14 for sad, in both
    assert found["test"] == ["2", "1.000", "0.700", "", "", "", "", "", "1.00", ""]
    assert "validation" not in found


def test_labels_are_told_from_votes_only_as_far_as_votes_decide_them(tmp_path, capsys):
    """Of 200 training images those with votes for anger are 'sad'; of 40 test images the votes of 10 say nothing."""
    votes, names = [], []
    for number in range(240):
        split, folder = ("Training", "train") if number < 200 else ("PrivateTest", "test")
        happy = number % 2 == 0
        told = not 200 <= number < 210
        votes.append(f"{split},f{number}.png,0,{10 * (happy == told)},0,0,{10 * (happy != told)},0,0,0,0,0\n")
        names.append(f"{folder},{folder}/{'happy' if happy else 'sad'}/{number}.jpg,f{number}.png,1\n")
    (tmp_path / "votes.csv").write_text(HEAD + "".join(votes))
    (tmp_path / "names.csv").write_text(NAMES + "".join(names))
    assert main(["--votes", str(tmp_path / "votes.csv"), "--names", str(tmp_path / "names.csv")]) == 0
    assert "test: 0.750 (0.598 to 0.858) of the labels told from the votes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("test,test/bored/1.jpg,fer1.png,1\n", "bored/1.jpg is not in a class folder"),
        ("test,test/sad/1.jpg,fer9.png,1\n", "sad/1.jpg: its row is not in the votes"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tables, capsys, row, said):
    assert main(tables(row)) == 2
    assert said in capsys.readouterr().err


def test_a_missing_table_is_named(tmp_path, capsys):
    assert main(["--votes", str(tmp_path / "no.csv"), "--names", str(tmp_path / "no.csv")]) == 2
    assert "no.csv does not exist" in capsys.readouterr().err
