"""`data=folder data.path=...`, nothing else given: training, and all that comes after it, on small folders."""

from __future__ import annotations

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from cnn.training.loop import Trainer
from foundation.files import read_json

SMALL = ("model=mlp", "trainer.epochs=1", "trainer.batch_size=16", "backend=numpy", "data=folder")
EQUAL = ("merge.duplicates=pixels", "data.audit=pixels")  # the search for more takes its time


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A current folder with `pets/`: 20 coloured images of 12 x 12 of each of two classes."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(20):
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(tmp_path / f"pets/{name}/{i:02}.png")
    return tmp_path


def test_a_folder_is_found_out_trained_on_and_scored_again(command, place):
    trained = command("cnn.train", *SMALL, "data.path=pets/", "hydra.run.dir=out")
    assert trained.status == 0, trained.err
    assert "Of 40 images looked at: 12 x 12 pixels, colour" in trained.out
    assert "enlarged to 16 x 16" in trained.out
    told = trained.out.index("2 classes: cat, dog.")
    assert told < trained.out.index("Input images")
    data = OmegaConf.load(place / "out/.hydra/config.yaml").data
    assert (list(data.classes), data.image_size, data.channels, data.name) == (["cat", "dog"], 16, 3, "pets")
    again = command("cnn.evaluate", "run=out", "split=test")
    assert again.status == 0, again.err
    assert "classes: cat" not in again.out
    accuracy = read_json(place / "out/evaluation_test.json")["accuracy"]
    assert f"test accuracy        {accuracy:.4f}" in trained.out
    predicted = command("cnn.predict", "run=out", "images=pets/cat/00.png")
    assert predicted.status == 0, predicted.err


def test_the_folder_may_be_the_one_in_which_the_results_are_written(command, place, monkeypatch):
    """What a command has written there is no class and no image of the next one."""
    monkeypatch.chdir(place / "pets")
    for _ in range(2):
        trained = command("cnn.train", *SMALL, *EQUAL, "data.path=.")
        assert trained.status == 0, trained.err
        assert "40 images in folders by class" in trained.out
        audited = command("data_tools.audit", "path=.", "duplicates=pixels")
        assert audited.status == 0, audited.err
        assert "among 40 images" in audited.out
    assert {path.name for path in (place / "pets").iterdir()} == {"cat", "dog", "runs", "packs", "audits"}
    assert "Not read: audits/, which a command wrote here." in audited.out
    assert len(list((place / "pets/packs").glob("[!.]*"))) == 1, "the same images are prepared once"


def test_a_class_may_have_the_name_of_a_folder_of_results(command, place):
    (place / "pets" / "cat").rename(place / "pets" / "runs")
    trained = command("cnn.train", *SMALL, *EQUAL, "data.path=pets", "hydra.run.dir=out")
    assert trained.status == 0, trained.err
    assert "2 classes: dog, runs." in trained.out


@pytest.mark.parametrize("images", [3, 20])
def test_a_folder_of_any_size_trains(command, place, images):
    """Nothing else given: there may be fewer training images than the usual batch has, and another number of each."""
    for file in sorted((place / "pets").glob("*/*.png")):
        if int(file.stem) >= (images if file.parent.name == "cat" else 3):
            file.unlink()
    options = ("data=folder", "data.path=pets", "model=mlp", "backend=numpy", "trainer.epochs=1")
    trained = command("cnn.train", *options, "hydra.run.dir=out")
    assert trained.status == 0, trained.err
    train = read_json(next((place / "packs").glob("pets-*/pack.json")))["counts"]["kept"]["pets"]["train"]
    assert f"Each step takes all training images, {sum(train.values())}" in trained.out
    assert "trainer.batch_size=64" in (place / "out/report.html").read_text()
    ranged = command("cnn.lr_find", *options, "steps=20")
    assert ranged.status == 0, ranged.err


def test_what_was_found_is_kept_when_the_folder_has_changed(command, place, monkeypatch):
    """The pack is there: evaluation does not look at the folder again, and neither does a resumed run."""
    whole = Trainer._train_epoch

    def interrupted(trainer, *arguments):
        if trainer.epoch == 1:
            raise KeyboardInterrupt
        return whole(trainer, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_epoch", interrupted)
        assert (
            command("cnn.train", *SMALL, *EQUAL, "data.path=pets", "trainer.epochs=2", "hydra.run.dir=out").status
            == 130
        )
    (place / "pets").rename(place / "gone")
    outcome = command("cnn.evaluate", "run=out")
    assert outcome.status == 0, outcome.err
    resumed = command("cnn.train", "resume=out")
    assert resumed.status == 0, resumed.err
    assert "resumed after epoch 1" in resumed.out
    assert "looked at" not in resumed.out


def test_what_is_given_wins(command, place):
    options = ("data.path=pets", "data.image_size=10", "data.channels=1", "data.classes=[dog,cat]", "data.name=mine")
    assert command("data_tools.prepare", "data=folder", *EQUAL, *options).status == 0
    (pack,) = (place / "packs").glob("mine-*/pack.json")
    found = read_json(pack)
    assert (found["classes"], found["image_size"], found["channels"]) == (["dog", "cat"], 10, 1)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("data=folder",), ["data.path=PATH is missing", "folder, archive or table"]),
        (("data=folder", "data.path=nowhere"), ["nowhere", "there is no such folder"]),
        (("data=folder", "data.path=pets", "data.root=pets"), ["data.root is not used by data=folder", "data.path"]),
        (("data=folder", "data.path=pets/cat"), ["pets/cat names no classes", "folder of its own"]),
        (("data=folder", "data.path=pets/cat/00.png"), ["single image"]),
        (("data=fer2013", "+data.path=pets"), ["data.path", "data=folder data.path=pets"]),
        (("data=toy_faces", "data.root=pets"), ["toy faces are drawn", "data=folder data.path=pets"]),
        (("data=digits", "data.root=pets"), ["scikit-learn", "data=folder data.path=pets"]),
    ],
)
def test_what_is_not_used_or_missing_is_refused_before_any_work(command, place, options, words):
    outcome = command("cnn.train", *options)
    for word in words:
        assert word in outcome.error
    assert not (place / "packs").exists()


def test_the_other_commands_find_it_out_too(command, place):
    for module in ("data_tools.prepare", "data_tools.audit", "cnn.summary"):
        outcome = command(module, "data=folder", "data.path=pets")
        assert outcome.status == 0, outcome.err
        assert "2 classes: cat, dog." in outcome.out
    assert "needs no download" in command("data_tools.download", "data=folder", "data.path=pets").out
