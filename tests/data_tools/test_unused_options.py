"""An option of a source that the data which is found does not use is refused, whichever kind of data that is."""

from pathlib import Path

import pytest
from array_files import cifar_binary, mnist_files
from drawn import png, write_tar, write_tree, write_zip

from data_tools.sources.base import Entry
from data_tools.sources.find import make_source
from foundation.errors import UserError

FOLDERS = {"train/cat/1.png": png(1), "train/dog/2.png": png(2), "test/dog/3.png": png(3)}
NAMED = {"test/cat/PublicTest_1.png": png(1), "test/dog/PrivateTest_2.png": png(2), "train/dog/Training_3.png": png(3)}
ROW = " ".join(["7"] * 16)
FER = {"pets.csv": f"emotion,pixels,Usage\n0,{ROW},PublicTest\n".encode()}
FER_WITHOUT_SPLITS = {"pets.csv": f"emotion,pixels\n0,{ROW}\n".encode()}
LISTED = {"faces.csv": b"path,label\n1.png,cat\n", "1.png": png(1)}
DATA = {"folders": FOLDERS, "named": NAMED, "fer": FER, "fer without Usage": FER_WITHOUT_SPLITS, "mnist": mnist_files(),
        "cifar": cifar_binary(), "listed": LISTED}  # fmt: skip


def entries(root: Path, data: str, kind: str, options: dict[str, object]) -> list[Entry]:
    if kind == "folder":
        write_tree(root / "x", DATA[data])
    else:
        (write_zip if kind == "zip" else write_tar)(root / f"x.{kind}", DATA[data])
    return list(make_source("x", str(root), options).entries())


UNUSED = {
    "names of files without splits": ("folders", {"split_from_name": True}, "no file name .* Training_"),
    "names of files in a table": ("fer without Usage", {"split_from_name": True}, "has no column 'Usage'"),
    "names of files in MNIST": ("mnist", {"split_from_name": True}, r"split_from_name is not used: .* MNIST's"),
    "names of files in CIFAR": ("cifar", {"split_from_name": True}, r"split_from_name is not used: .* CIFAR's"),
    "a label for a table": ("fer", {"label": "face"}, r"data\.sources\.x\.label is not used: .* table"),
    "a label for MNIST": ("mnist", {"label": "digit"}, r"data\.sources\.x\.label is not used"),
    "a label for CIFAR": ("cifar", {"label": "thing"}, r"data\.sources\.x\.label is not used"),
    "classes of a source": ("folders", {"classes": ["cat"]}, r"data\.sources\.x\.classes: .* data\.classes"),
    "a column that is not there": ("listed", {"kind": "listed", "columns": {"split": "fold"}}, "no column 'fold'"),
    "another spelling": ("named", {"split_from_name": "maybe"}, "must be true, false or auto"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
@pytest.mark.parametrize("case", UNUSED)
def test_it_is_refused(root: Path, case: str, kind: str) -> None:
    data, options, message = UNUSED[case]
    with pytest.raises(UserError, match=message):
        entries(root, data, kind, options)


@pytest.mark.parametrize("option", [{"table": "other.csv"}, {"tables": {"train": "other.csv"}}])
def test_a_table_in_a_table_is_refused(root: Path, option: dict[str, object]) -> None:
    write_tree(root, {"x.csv": b"path,label\n1.png,cat\n", "1.png": png(1)})
    with pytest.raises(UserError, match="is a table itself, so it is not used"):
        make_source("x", str(root), {"kind": "listed", **option})


@pytest.mark.parametrize("data", ["named", "fer"])
@pytest.mark.parametrize("given", [True, "auto"])
def test_where_it_is_used_it_is_taken(root: Path, data: str, given: object) -> None:
    found = {entry.original_split for entry in entries(root, data, "folder", {"split_from_name": given})}
    assert found == ({"train", "validation", "test"} if data == "named" else {"validation"})


@pytest.mark.parametrize("data", ["folders", "fer without Usage", "mnist", "cifar"])
def test_auto_is_for_data_that_may_not_have_it(root: Path, data: str) -> None:
    assert not [entry.error for entry in entries(root, data, "folder", {"split_from_name": "auto"}) if entry.error]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ({"threshold": 0.7}, "threshold is not used with .*rule=majority, only with rule=threshold"),
        ({"rule": "probability", "threshold": 0.7}, "threshold is not used with .*rule=probability"),
        ({"seed": 3}, "seed is not used with .*rule=majority, only with rule=probability"),
        ({"rule": "threshold", "seed": 3}, "seed is not used with .*rule=threshold"),
        ({"names": "mine.csv"}, "names is not used: the votes are joined to a table by its rows"),
    ],
)
def test_votes(root: Path, policy: dict[str, object], message: str) -> None:
    write_tree(root, {"fer2013.csv": FER["pets.csv"], "fer2013new.csv": b"Usage,Image name\n"})
    with pytest.raises(UserError, match=rf"^data\.sources\.f\.{message}"):
        make_source("f", str(root), {"kind": "fer_plus", **policy})
