"""The measurements of the search for near-duplicates, on collections in which it is known what they have to measure."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn import encoded, photograph, turned, write_tree
from PIL import Image

from benchmarks import duplicate_copies, duplicate_pairs, duplicate_recall, duplicate_scale
from benchmarks.data.kinds import Kind, all_kinds

Run = Callable[..., str]
COPIES = {
    "turned": turned(photograph(1), 12),
    "moved": turned(photograph(2), 0, 1.1, 2),
    "brighter": np.clip(photograph(3) * 0.7 + 50.0, 0, 255).astype(np.uint8),
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """40 photographs of two classes, and three copies of some of them, as `fer2013`."""
    names = ("happy", "sad")
    photographs = {f"train/{names[seed % 2]}/{seed}.png": encoded(photograph(seed)) for seed in range(40)}
    copies = {f"test/happy/{name}.png": encoded(image) for name, image in COPIES.items()}
    write_tree(tmp_path / "data" / "fer2013", photographs | copies)
    return tmp_path / "data"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(main: Callable[[], int], *arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["benchmark", *map(str, arguments)])
        assert main() == 0
        return capsys.readouterr().out

    return run


def test_recall(root: Path, run: Run) -> None:
    found = json.loads(run(duplicate_recall.main, "--root", root, "--each", 2))
    assert found["images"] == 43
    assert found["without a near-duplicate of their own"] == 43 - 2 * len(COPIES)
    assert set(found["recall"]) == set(duplicate_recall.TRANSFORMATIONS)
    assert all(row["copies"] == 2 for row in found["recall"].values())
    assert found["recall"]["JPEG quality 95"]["recall"] == 1.0
    assert found["of these to another photograph"] == []
    assert found["precision"] == 1.0
    assert found["hard negatives"] > 0


def test_recall_counts_what_is_missed(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def another(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return photograph(int(generator.integers(1000, 2000)))

    monkeypatch.setattr(duplicate_recall, "TRANSFORMATIONS", {"replaced": ("near", another)})
    found = json.loads(run(duplicate_recall.main, "--root", root, "--each", 5))
    assert found["recall"]["replaced"] == {
        "copies": 5, "level": "near", "recall": 0.0, "recall at augmented": 0.0
    }  # fmt: skip


def test_recall_counts_pairs_of_different_photographs(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def always_the_same(image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return np.rint(photograph(0) * generator.uniform(0.7, 0.99)).astype(np.uint8)

    monkeypatch.setattr(duplicate_recall, "TRANSFORMATIONS", {"replaced": ("near", always_the_same)})
    found = json.loads(run(duplicate_recall.main, "--root", root, "--each", 4))
    assert len(found["of these to another photograph"]) >= 4
    assert found["precision"] < 0.5


def test_scale(root: Path, run: Run) -> None:
    found = json.loads(run(duplicate_scale.main, "--root", root, "--data", "fer2013", "--this", 30))
    assert found["images"] == found["distinct images"] == 30
    assert 27 <= found["groups"] <= 30
    assert found["seconds of the search"] > 0
    assert found["peak MB"] > 50


def test_pairs_to_look_at(root: Path, run: Run, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    out = run(
        duplicate_pairs.main, sheet, "--root", root, "--data", "fer2013", "--bands", 0.65, 0.8, 1.01, "--columns", 3
    )
    assert out.splitlines() == ["0.80-1.00: 2 of 2 pairs", "0.65-0.80: 0 of 0 pairs"]
    image = np.asarray(Image.open(sheet))
    tiles = [image[:48, at : at + 48] for at in range(72, 72 + 6 * 48 + 6, 48 * 3 + 6)]
    shown = {tile.tobytes() for tile in tiles}
    expected = [
        {photograph(1).tobytes(), COPIES["turned"].tobytes()},
        {photograph(2).tobytes(), COPIES["moved"].tobytes()},
    ]
    assert all(len(shown & pair) == 1 for pair in expected)


def test_pairs_of_a_band_are_drawn_by_seed(root: Path, run: Run, tmp_path: Path) -> None:
    sheets = []
    for seed in (0, 0, 1, 2, 3):
        chosen = ("--root", root, "--data", "fer2013", "--each", 1, "--seed", seed, "--bands", 0.65, 1.01)
        run(duplicate_pairs.main, tmp_path / "sheet.png", *chosen)
        sheets.append((tmp_path / "sheet.png").read_bytes())
    assert sheets[0] == sheets[1]
    assert len(set(sheets)) == 2


def test_planted_copies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of line drawings all sorts are found; of a collection with a copy in it, one stranger is lost."""
    (drawings,) = (kind for kind in all_kinds(40, 0) if kind.name == "line drawings")
    flawed = Kind("icons", "", [*drawings.images, duplicate_copies.mirrored(drawings.images[0])], [])
    monkeypatch.setattr(duplicate_copies, "all_kinds", lambda *arguments: [drawings, flawed])
    header, _, clean, lost = run(duplicate_copies.main, "--planted", 3).splitlines()[-4:]
    assert header.count("|") == clean.count("|") == 4 + len(duplicate_copies.SORTS)
    assert clean == "| line drawings | 40 | 0 | 3 | 3 | 3 | 3 | 3 |"
    assert lost.startswith("| icons | 41 | 1 |")
