"""The independent check has to find what is planted, and nothing where nothing is."""

import json
from pathlib import Path

import numpy as np
import pytest
from drawn import photograph, turned

from benchmarks import check_duplicates


def write_pack(folder: Path, planted: dict[int, np.ndarray]) -> Path:
    """30 training images, 4 validation, 4 test; `planted[row]` replaces an image. Rows from 30 are evaluated."""
    images = np.stack([photograph(seed) for seed in range(38)])
    for row, image in planted.items():
        images[row] = image
    folder.mkdir()
    np.save(folder / "images.npy", images[:, :, :, None])
    np.save(folder / "splits.npy", np.repeat(np.array([0, 1, 2], np.uint8), [30, 4, 4]))
    return folder


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    return np.roll(image, (down, right), (0, 1))


@pytest.mark.parametrize(
    ("kind", "copy"),
    [
        ("equal", lambda image: image),
        ("near", lambda image: moved(image, 2, -3)),
        ("near", lambda image: (image * 0.6 + 40).astype(np.uint8)),
        ("mirrored", lambda image: moved(image[:, ::-1], -1, 2)),
        ("warped", lambda image: turned(image, 20, 1.1, 3)),
        ("warped", lambda image: turned(image[:, ::-1], -25, 0.9, -2)),
    ],
)
def test_planted_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, copy) -> None:
    monkeypatch.setattr(check_duplicates, "BEST", 2)
    folder = write_pack(tmp_path / "pack", {33: copy(photograph(5)), 36: copy(photograph(29))})
    counts, found = check_duplicates.check(folder, 8 if kind == "warped" else 0, 0, False)
    assert {(pair.evaluated, pair.trained) for pair in found if pair.kind == kind} == {(33, 5), (36, 29)}
    assert {pair.evaluated for pair in found} == {33, 36}
    assert counts["training images"] == 30


def test_a_clean_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check_duplicates, "BEST", 2)
    folder = write_pack(tmp_path / "pack", {})
    monkeypatch.setattr("sys.argv", ["check", str(folder), "--sample", "6"])
    assert check_duplicates.main() == 0
    counts = json.loads(capsys.readouterr().out)
    assert counts["of these with a warped copy"] == counts["with a near-duplicate"] == 0
    assert counts["fraction with one, at most (95 %)"] == pytest.approx(1 - 0.05 ** (1 / 6), abs=1e-4)


def test_command_on_a_leaky_pack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_pack(tmp_path / "pack", {30: photograph(0)})
    monkeypatch.setattr("sys.argv", ["check", str(folder), "--sample", "0", "--sheet", str(tmp_path / "sheet.png")])
    assert check_duplicates.main() == 1
    assert json.loads(capsys.readouterr().out)["evaluation images with an equal copy"] == 1
    assert (tmp_path / "sheet.png").stat().st_size > 1000
