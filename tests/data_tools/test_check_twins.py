"""The independent check has to find what is planted, and nothing where nothing is."""

import json
from pathlib import Path

import numpy as np
import pytest
from drawn import photograph, turned

from benchmarks import check_twins


def write_pack(folder: Path, planted: dict[int, np.ndarray]) -> Path:
    """30 training pictures, 4 validation, 4 test; `planted[row]` replaces a picture. Rows from 30 are evaluated."""
    pictures = np.stack([photograph(seed) for seed in range(38)])
    for row, picture in planted.items():
        pictures[row] = picture
    folder.mkdir()
    np.save(folder / "images.npy", pictures[:, :, :, None])
    np.save(folder / "splits.npy", np.repeat(np.array([0, 1, 2], np.uint8), [30, 4, 4]))
    return folder


def moved(picture: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(picture, (down, right), (0, 1))


@pytest.mark.parametrize(
    ("kind", "copy"),
    [
        ("equal", lambda picture: picture),
        ("near", lambda picture: moved(picture, 2, -3)),
        ("near", lambda picture: (picture * 0.6 + 40).astype(np.uint8)),
        ("mirrored", lambda picture: moved(picture[:, ::-1], -1, 2)),
        ("warped", lambda picture: turned(picture, 20, 1.1, 3)),
        ("warped", lambda picture: turned(picture[:, ::-1], -25, 0.9, -2)),
    ],
)
def test_planted_twins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, copy) -> None:
    monkeypatch.setattr(check_twins, "BEST", 2)
    folder = write_pack(tmp_path / "pack", {33: copy(photograph(5)), 36: copy(photograph(29))})
    counts, twins = check_twins.check(folder, 8 if kind == "warped" else 0, 0, False)
    assert {(twin.evaluated, twin.trained) for twin in twins if twin.kind == kind} == {(33, 5), (36, 29)}
    assert {twin.evaluated for twin in twins} == {33, 36}
    assert counts["training images"] == 30


def test_a_clean_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check_twins, "BEST", 2)
    folder = write_pack(tmp_path / "pack", {})
    monkeypatch.setattr("sys.argv", ["check", str(folder), "--sample", "6"])
    assert check_twins.main() == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["of these with a warped twin"] == counts["with a near twin"] == 0
    assert counts["share with one, at most (95 %)"] == pytest.approx(1 - 0.05 ** (1 / 6), abs=1e-4)


def test_command_on_a_leaky_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pack(tmp_path / "pack", {30: photograph(0)})
    monkeypatch.setattr("sys.argv", ["check", str(folder), "--sample", "0", "--sheet", str(tmp_path / "sheet.png")])
    assert check_twins.main() == 1
    assert json.loads(capsys.readouterr().out)["evaluation images with an equal twin"] == 1
    assert (tmp_path / "sheet.png").stat().st_size > 1000
