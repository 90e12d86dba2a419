"""`metrics.csv` round trips exactly."""

import math

import numpy as np
import pytest

from cnn.reporting.metrics_csv import COLUMNS, read_history, write_history
from foundation.errors import UserError


def test_round_trip_keeps_every_digit(tmp_path):
    path = tmp_path / "metrics.csv"
    rows = [
        {"seconds": 1.25, "epoch": 1, "train_loss": 1 / 3, "val_accuracy": None, "extra": 7},
        {"seconds": 1e-17, "epoch": 2, "train_loss": 0.1, "val_accuracy": 1.0, "extra": 8},
    ]
    write_history(path, rows)
    assert path.read_text().splitlines()[0] == "epoch,train_loss,val_accuracy,seconds,extra"
    back = read_history(path)
    assert back == rows
    assert [type(back[1][key]) for key in ("epoch", "val_accuracy")] == [int, float]


def test_numpy_scalars_are_plain_numbers(tmp_path):
    path = tmp_path / "metrics.csv"
    write_history(path, [{"epoch": np.int64(1), "train_loss": np.float64(0.1), "val_loss": np.float32(0.5)}])
    assert path.read_text() == "epoch,train_loss,val_loss\n1,0.1,0.5\n"


def test_a_diverged_loss_comes_back_as_nan(tmp_path):
    write_history(tmp_path / "metrics.csv", [{"epoch": 1, "train_loss": float("nan"), "val_loss": float("inf")}])
    (row,) = read_history(tmp_path / "metrics.csv")
    assert math.isnan(row["train_loss"])
    assert row["val_loss"] == math.inf


def test_columns_of_later_rows_are_not_lost(tmp_path):
    write_history(tmp_path / "metrics.csv", [{"epoch": 1}, {"epoch": 2, "val_loss": 0.5}])
    assert read_history(tmp_path / "metrics.csv") == [{"epoch": 1, "val_loss": None}, {"epoch": 2, "val_loss": 0.5}]


def test_no_epoch_yet_is_a_header(tmp_path):
    write_history(tmp_path / "metrics.csv", [])
    assert (tmp_path / "metrics.csv").read_text() == ",".join(COLUMNS) + "\n"
    assert read_history(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize("row", ["1,abc", "1,2,3"])
def test_a_bad_cell_is_named(tmp_path, row):
    path = tmp_path / "metrics.csv"
    path.write_text(f"epoch,train_loss\n1,0.5\n{row}\n")
    with pytest.raises(UserError, match="line 3"):
        read_history(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        read_history(tmp_path / "metrics.csv")


def test_a_row_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "metrics.csv"
    write_history(path, [{"epoch": 1}])

    class Broken:
        def __repr__(self):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        write_history(path, [{"epoch": 1}, {"epoch": Broken()}])
    assert path.read_text() == "epoch\n1\n"
    assert list(tmp_path.iterdir()) == [path]
