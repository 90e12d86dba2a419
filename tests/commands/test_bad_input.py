"""What people get wrong: each time one clear line, and nothing half-written."""

from __future__ import annotations

import errno
import tarfile

import numpy as np
import pytest

from commands.small import QUICK


def leftovers(workplace):
    """Files that a failed command should not leave: packs, temporary files, run files beyond Hydra's record."""
    packs = list((workplace / "packs").iterdir()) if (workplace / "packs").exists() else []
    runs = [p for p in (workplace / "runs").rglob("*") if p.is_file() and p.parent.name != ".hydra"]
    return packs + runs + list(workplace.glob("data/**/.*"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["data.root=elsewhere"], ["fer2013", "elsewhere"]),
        (["model=vgg_samll"], ["vgg_samll", "vgg_small", "baseline"]),
        (["data=imagenet"], ["imagenet", "fer2013", "toy_faces"]),
        (["optimiser=sgd"], ["optimiser"]),
        (["trainer.epoch=3"], ["trainer.epoch"]),
        (["trainer.epochs=many"], ["trainer.epochs", "many"]),
        (["trainer.epochs=0"], ["trainer.epochs", "0"]),
        (["trainer.precision=half"], ["trainer.precision", "'half'", "float32, bfloat16, tf32, auto"]),
        (["trainer.precision=tf32"], ["trainer.precision=tf32", "GPU", "float32"]),
        (["trainer.monitor=test_accuracy"], ["trainer.monitor", "test"]),
        (["trainer.pixels=raw"], ["trainer.pixels", "raw", "standardize"]),
        (["optimizer.learning_rate=-1"], ["optimizer.learning_rate"]),
        (["schedule.warmup=2"], ["schedule.warmup"]),
        (["augment.shift=1.5"], ["augment.shift"]),
        (["augment.rotate=200"], ["augment.rotate", "200", "180"]),
        (["augment.erase_area=[0.5,0.1]"], ["augment.erase_area", "[0.5, 0.1]"]),
        (["augment.erase_area=wide"], ["augment.erase_area"]),
        (["backend=torch"], ["backend", "torch", "cupy", "numpy"]),
        (["backend.name=torch"], ["backend 'torch'", "numpy, cpu, cupy, auto"]),
        (["backend.threads=0"], ["backend.threads"]),
        (["backend.threads=two"], ["backend.threads", "two"]),
        (["seed=abc"], ["seed", "abc"]),
        (["optimizer.beta1=1"], ["optimizer.beta1", "1"]),
        (["schedule=plateau", "schedule.factor=2"], ["schedule.factor", "2"]),
        (["experiment=nothing"], ["experiment", "nothing", "baseline_tuned"]),
        (["data.image_size=4"], ["model.layers[4] (conv2d)", "2x2"]),
        (["model.layers=[flatten,{dense: {units: 3}}]"], ["(3,)", "7 classes"]),
        (["model.layers=[flatten,{dens: 3}]"], ["model.layers[1]", "dens", "dense"]),
        (["model.layers=[{conv2d: {filter: 3}}]"], ["model.layers[0]", "filter", "filters"]),
        (["model.layers=[{dense: 7}]"], ["model.layers[0]", "flatten"]),
        (["merge.thin=[trian]"], ["merge.thin", "trian"]),
        (["optimizer.learning_rate=1e30", "trainer.epochs=1"], ["loss", "optimizer.learning_rate"]),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning", "ignore:invalid value:RuntimeWarning")
def test_train_says_what_is_wrong_in_one_line(command, workplace, arguments, words):
    options = [option for option in QUICK if option.partition("=")[0] not in {a.partition("=")[0] for a in arguments}]
    line = command("cnn.train", *options, *arguments).error
    for word in words:
        assert word in line
    left = [path for path in leftovers(workplace) if path.name != "fer2013" and "packs" not in path.parts]
    begun = "loss" in words  # that run had begun to train: its log stays, with the error
    assert [path.name for path in left] == ["train.log"] * begun
    assert not begun or left[0].read_text(encoding="utf-8").splitlines()[-1] == f"error: {line}"


@pytest.mark.parametrize(
    ("module", "arguments", "words"),
    [
        ("cnn.evaluate", [], ["run"]),
        ("cnn.evaluate", ["run=nowhere"], ["nowhere"]),
        ("cnn.evaluate", ["run=data"], ["model.best.safetensors"]),
        ("cnn.evaluate", ["run=data", "split=final"], ["final", "validation"]),
        ("cnn.predict", ["run=data"], ["images"]),
        ("cnn.predict", ["run=nowhere", "images=data/fer2013/test/sad"], ["nowhere"]),
        ("cnn.summary", ["model=alexnet"], ["alexnet", "lenet"]),
        ("cnn.summary", ["model=lenet", "data.image_size=4"], ["model.layers[4] (conv2d)"]),
        ("data_tools.prepare", ["data=fer2013", "data.root=elsewhere"], ["fer2013", "elsewhere"]),
        ("cnn.train", ["data.root=pets"], ["data.root", "toy faces are drawn", "pets"]),
        ("data_tools.audit", ["data=toy_faces", "data.root=pets"], ["data.root", "toy faces are drawn", "pets"]),
    ],
)
def test_the_other_commands_do_too(command, workplace, module, arguments, words):
    line = command(module, *arguments).error
    for word in words:
        assert word in line
    assert leftovers(workplace) == []


def test_an_empty_class_folder_is_named(command, workplace):
    for path in (workplace / "data/fer2013/train/fear").iterdir():
        path.unlink()
    assert "train/fear" in command("cnn.train", *QUICK).error
    assert leftovers(workplace) == []


def test_a_truncated_image_is_set_aside_and_counted(command, workplace):
    path = workplace / "data/fer2013/train/fear/00.png"
    path.write_bytes(path.read_bytes()[:60])
    outcome = command("cnn.train", *QUICK, "trainer.epochs=1")
    assert outcome.status == 0
    assert "set_aside 1" in outcome.out
    (manifest,) = (workplace / "packs").glob("*/manifest.csv")
    assert "fear/00.png,train,fear,fear" in manifest.read_text()


@pytest.mark.parametrize(
    ("emotion", "pixels", "reason"),
    [
        ("0", ["7"] * 2303, "2,303 pixels"),
        ("0", ["7"] * 2303 + ["256"], "256"),
        ("9", ["7"] * 2304, "9"),
    ],
)
def test_a_bad_row_of_the_table_is_set_aside_with_its_number(command, tmp_path, monkeypatch, emotion, pixels, reason):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for usage in ("Training", "PublicTest", "PrivateTest"):
        for label in range(7):
            lines.append(f"{label},{' '.join(map(str, rng.integers(0, 256, 2304)))},{usage}")
    lines.append(f"{emotion},{' '.join(pixels)},Training")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/fer2013.csv").write_text("\n".join(lines) + "\n")
    outcome = command("data_tools.prepare", "data=fer2013")
    assert outcome.status == 0, outcome.err
    (manifest,) = (tmp_path / "packs").glob("*/manifest.csv")
    (row,) = [line for line in manifest.read_text().splitlines() if "set_aside" in line]
    assert reason in row
    assert "row 22" in row  # the rows of the table count from 1, below the header


def test_an_archive_member_that_leaves_the_archive_is_set_aside(command, workplace):
    folder = workplace / "data/fer2013"
    with tarfile.open(workplace / "data/escaping.tar.gz", "w:gz") as archive:
        archive.add(folder, arcname="fer2013")
        archive.add(folder / "train/sad/00.png", arcname="../../led_outside.png")
    options = ("data=fer2013", "data.image_size=12", "++data.sources.fer2013.stem=escaping")
    outcome = command("data_tools.prepare", *options)
    assert outcome.status == 0, outcome.err
    assert "leaves the archive" in outcome.out
    (manifest,) = (workplace / "packs").glob("*/manifest.csv")
    assert "../../led_outside.png" in manifest.read_text()
    assert not list(workplace.parent.rglob("led_outside.png"))


def test_a_full_disk_leaves_no_pack(command, workplace, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data_tools.packs.pack.write_manifest", full)
    assert "No space left" in command("cnn.train", *QUICK).error
    assert leftovers(workplace) == []


def test_a_damaged_checkpoint_is_named(command, workplace):
    assert command("cnn.train", *QUICK, "trainer.epochs=1", "hydra.run.dir=out").status == 0
    path = workplace / "out/model.best.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    assert "model.best.safetensors" in command("cnn.evaluate", "run=out").error
