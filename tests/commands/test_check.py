"""`python -m cnn.check`: a line for each file of a run or a pack, and what is damaged."""

from __future__ import annotations

import shutil
import sys
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest

from cnn.check import main
from cnn.train import main as train
from commands.small import QUICK, write_faces


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A finished run `out` and its pack below `packs/`."""
    place = tmp_path_factory.mktemp("made")
    write_faces(place / "data" / "fer2013")
    with chdir(place), pytest.MonkeyPatch.context() as patch:
        for plot in ("plot_confusion_matrix", "plot_curves", "plot_predictions"):
            patch.setattr(f"cnn.reporting.run_files.{plot}", lambda *arguments: None)
        patch.setattr("cnn.reporting.run_files.write_report", lambda *arguments, **options: None)
        patch.setattr(sys, "argv", ["cnn/train.py", *QUICK, "hydra.run.dir=out"])
        train()
    return place


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    shutil.copytree(made, tmp_path / "x")
    monkeypatch.chdir(tmp_path / "x")
    (pack,) = Path("packs").glob("fer2013-*")
    pack.rename("pack")
    return tmp_path / "x"


def lines(capsys, folder: str, status: int) -> dict[str, bool]:
    """Each file, and whether it is whole."""
    capsys.readouterr()
    assert main([folder]) == status
    printed = capsys.readouterr().out.splitlines()
    return {line[9:].partition(": ")[0]: line.startswith("whole") for line in printed}


def test_a_run_and_a_pack_are_whole_and_stay_as_they_are(place, capsys):
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    for folder, files in (("out", 6), ("pack", 2)):
        found = lines(capsys, folder, 0)
        assert all(found.values())
        assert len(found) == files
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


DAMAGES = {
    "out/model.best.safetensors": lambda content: content[:-4],
    "out/checkpoint.last.safetensors": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "out/metrics.csv": lambda content: content[: content[:-1].rindex(b"\n") + 1],
    "out/metrics.json": lambda content: b"{}",
    "out/.hydra/config.yaml": lambda content: content + b"x: 1\n",
    "out/.metrics.abcdefgh.csv": None,
    "pack/images.npy": lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    "pack/pack.json": lambda content: b"",
    "pack/manifest.csv": lambda content: content[: content[:-1].rindex(b"\n") + 1],
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_named(place, capsys, name):
    path, damage = Path(name), DAMAGES[name]
    path.write_bytes(b"x" if damage is None else damage(path.read_bytes()))
    found = lines(capsys, name.partition("/")[0], 1)
    of_file = [whole for file, whole in found.items() if path.stem.split(".")[0] in file or "temporary" in file]
    assert False in of_file


def test_a_missing_file_is_damage_and_another_folder_is_neither(place, capsys):
    Path("out/model.best.safetensors").unlink()
    assert not lines(capsys, "out", 1)["model.best.safetensors"]
    np.save("pack/labels.npy", np.load("pack/labels.npy")[::-1])
    assert False in lines(capsys, "pack", 1).values()
    for folder in ("data", "nowhere"):
        assert lines(capsys, folder, 2) == {}


def test_a_network_from_python_is_checked_too(place, capsys):
    for name in (".hydra", "checkpoint.last.safetensors", "metrics.csv", "metrics.json"):
        path = Path("out", name)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert lines(capsys, "out", 0) == {"model.best.safetensors": True, "temporary files": True}
