"""`load_folder` and `Classifier.fit_folder`: images of a folder without Hydra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnn import Classifier, load_folder

OPTIONS = {"model": "mlp", "epochs": 1, "backend": "numpy"}


def write(folder: Path, splits: tuple[str, ...] = ("",), count: int = 6) -> dict[str, np.ndarray]:
    """Grey 8 x 8 images of two classes; returns them by path."""
    rng, images = np.random.default_rng(0), {}
    for split in splits:
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                path = folder / split / name / f"{i}.png"
                images[path.relative_to(folder).as_posix()] = rng.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(images[path.relative_to(folder).as_posix()]).save(path)
    return images


def test_every_image_and_its_label(tmp_path):
    images = write(tmp_path / "pets")
    X, y = load_folder(tmp_path / "pets")
    assert X.dtype == np.uint8
    np.testing.assert_array_equal(X[..., 0], np.stack(list(images.values())))
    assert y.tolist() == [path.split("/")[0] for path in images]


def test_splits_are_not_pooled(tmp_path):
    write(tmp_path / "pets", ("train", "test"))
    X, y = load_folder(tmp_path / "pets")
    assert len(X) == len(y) == 12
    assert len(load_folder(tmp_path / "pets", "test")[0]) == 12
    with pytest.raises(ValueError, match="has no validation split: it has test, train"):
        load_folder(tmp_path / "pets", "validation")
    with pytest.raises(ValueError, match="split must be one of train, validation, test, not 'eval'"):
        load_folder(tmp_path / "pets", "eval")


def test_size_channels_and_classes_can_be_given(tmp_path):
    write(tmp_path / "pets")
    with pytest.warns(UserWarning, match="6 set aside .*unknown label 'dog'"):
        X, y = load_folder(str(tmp_path / "pets"), image_size=5, channels=3, classes=["cat"])
    assert X.shape == (6, 5, 5, 3)
    assert set(y) == {"cat"}
    with pytest.raises(ValueError, match="channels 1 or 3"):
        load_folder(tmp_path / "pets", channels=2)


def test_what_cannot_be_read_is_counted(tmp_path):
    write(tmp_path / "pets")
    (tmp_path / "pets/cat/x.png").write_bytes(b"?")
    with pytest.warns(UserWarning, match="1 set aside .*cat/x.png: not an image that can be recognised"):
        X, _ = load_folder(tmp_path / "pets")
    assert len(X) == 12


@pytest.mark.parametrize("splits", [("",), ("train", "val", "test")])
def test_a_folder_is_learned(tmp_path, splits):
    write(tmp_path / "pets", splits)
    classifier = Classifier(**OPTIONS).fit_folder(tmp_path / "pets")
    assert classifier.classes_.tolist() == ["cat", "dog"]
    assert classifier.input_shape_ == (8, 8, 1)
    assert classifier.validation is None
    assert ("val_accuracy" in classifier.history_[0]) == ("val" in splits)
    X, y = load_folder(tmp_path / "pets", "test" if "test" in splits else None)
    assert 0 <= classifier.score(X, y) <= 1


def test_copies_are_used_once_and_never_from_another_split(tmp_path):
    write(tmp_path / "pets", ("train", "test"))
    pets = tmp_path / "pets"
    for target in ("train/dog/copy.png", "train/cat/same.png", "train/dog/both.png", "train/cat/both.png"):
        source = {"copy": "test/dog/0.png", "same": "train/cat/0.png", "both": "train/cat/1.png"}[Path(target).stem]
        (pets / target).write_bytes((pets / source).read_bytes())
    classifier = Classifier(**OPTIONS).fit_folder(pets)
    assert classifier.class_count_.tolist() == [5, 6]  # cat/1.png is under two labels, and counts for neither


def test_a_path_without_images_is_a_value_error_of_one_line(tmp_path):
    (tmp_path / "pets").mkdir()
    for use in (load_folder, Classifier(**OPTIONS).fit_folder):
        with pytest.raises(ValueError, match="pets is empty") as refused:
            use(tmp_path / "pets")
        assert "\n" not in str(refused.value)


def test_neither_hydra_nor_omegaconf_is_needed(tmp_path):
    write(tmp_path / "pets")
    code = f"""
import sys
sys.modules.update(dict.fromkeys(["hydra", "cv2", "faiss"]))  # their import fails
from cnn import load_folder
print(len(load_folder({str(tmp_path / "pets")!r})[0]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "12\n"), done.stderr
