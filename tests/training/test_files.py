"""Packs and checkpoints: read whole, or refused in one line that names the file."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnn.training.checkpoint import load_checkpoint, save_checkpoint
from cnn.training.pack import load_pack
from foundation.errors import UserError

TENSORS = {
    "weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "transposed": np.arange(6, dtype=np.float64).reshape(2, 3).T,
    "count": np.array(7, np.int64),
}
ABOUT = {"classes": ["a", "é"], "rate": 0.1, "nothing": None, "nested": {"epoch": 3}}


def refusal(read, *arguments) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- checkpoints ------------------------------------------------------------------------------------------------


def test_checkpoint_round_trip_is_exact(tmp_path):
    path = tmp_path / "deep" / "model.safetensors"
    save_checkpoint(path, TENSORS, ABOUT)
    tensors, about = load_checkpoint(path)
    assert about == ABOUT
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_a_checkpoint_that_fails_leaves_the_earlier_one_whole(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, TENSORS, ABOUT)
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(path, TENSORS, {"loss": float("nan")})
    assert load_checkpoint(path)[1] == ABOUT
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_missing_checkpoint_is_refused(tmp_path):
    assert "model.safetensors is missing" in refusal(load_checkpoint, tmp_path / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 40, 0.5, 0.999], ids=str)
def test_truncated_checkpoint_is_refused(tmp_path, keep):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, TENSORS, ABOUT)
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert "model.safetensors is not a whole safetensors file" in refusal(load_checkpoint, path)


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, TENSORS, ABOUT)
    whole = bytearray(path.read_bytes())
    whole[8:40] = b"\xff" * 32  # inside its header
    path.write_bytes(whole)
    assert "model.safetensors is not a whole safetensors file" in refusal(load_checkpoint, path)


@pytest.mark.parametrize(
    "metadata", [None, {"format": "pt"}, {"format": "cnn-from-scratch/99", "about": "{}"}], ids=str
)
def test_foreign_checkpoint_is_refused(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    save_file({"weight": TENSORS["weight"]}, path, metadata)
    assert "was not written by cnn.train" in refusal(load_checkpoint, path)


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    np.save(path.with_suffix(".npy"), np.array([{"a": 1}], object), allow_pickle=True)
    path.with_suffix(".npy").rename(path)
    assert "is not a whole safetensors file" in refusal(load_checkpoint, path)


# --- packs ------------------------------------------------------------------------------------------------------


def test_a_pack_comes_in_its_splits(pack):
    assert pack.name == "blobs"
    assert pack.classes == ("left", "right", "middle")
    assert pack.image_shape == (8, 8, 1)
    assert {name: len(split) for name, split in pack.splits.items()} == {"train": 90, "validation": 45, "test": 30}
    for split in pack.splits.values():
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == split.host_labels.dtype == np.int64
        np.testing.assert_array_equal(split.labels, split.host_labels)
        assert np.bincount(split.host_labels).tolist() == [len(split) // 3] * 3


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "splits.npy", "pack.json"])
def test_a_pack_without_one_of_its_files_is_refused(ops, pack_folder, name):
    (pack_folder / name).unlink()
    assert f"{name} is missing" in refusal(load_pack, pack_folder, ops)


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "splits.npy"])
@pytest.mark.parametrize("keep", [0, 20, 0.7], ids=str)
def test_a_truncated_array_is_refused(ops, pack_folder, name, keep):
    path = pack_folder / name
    whole = path.read_bytes()
    path.write_bytes(whole[: keep if isinstance(keep, int) else int(keep * len(whole))])
    assert f"{name} is not a whole NumPy array" in refusal(load_pack, pack_folder, ops)


def test_a_header_of_which_numpy_warns_is_refused(ops, pack_folder):
    path = pack_folder / "labels.npy"
    path.write_bytes(path.read_bytes().replace(b"(165,), ", b"(165L,),", 1))  # as Python 2 wrote numbers
    assert "labels.npy is not a whole NumPy array" in refusal(load_pack, pack_folder, ops)


def test_a_pack_json_that_is_none_is_refused(ops, pack_folder):
    (pack_folder / "pack.json").write_text('{"name": "blobs", "classes"')
    assert "pack.json is not valid JSON" in refusal(load_pack, pack_folder, ops)


@pytest.mark.parametrize("key", ["name", "classes", "content_hash"])
def test_a_pack_json_without_a_key_is_refused(ops, pack_folder, key):
    about = json.loads((pack_folder / "pack.json").read_text())
    del about[key]
    (pack_folder / "pack.json").write_text(json.dumps(about))
    message = refusal(load_pack, pack_folder, ops)
    assert "pack.json" in message
    assert key in message


@pytest.mark.parametrize(
    ("name", "spoil", "says"),
    [
        ("images.npy", lambda a: a.astype(np.float32), "holds float32"),
        ("images.npy", lambda a: a[..., 0], "not uint8 (n, h, w, c)"),
        ("labels.npy", lambda a: a[:-1], "do not agree"),
        ("splits.npy", lambda a: a[:-1], "do not agree"),
        ("labels.npy", lambda a: a + 1, "names a class that pack.json does not"),
        ("labels.npy", lambda a: a - 1, "names a class that pack.json does not"),
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(ops, pack_folder, name, spoil, says):
    np.save(pack_folder / name, spoil(np.load(pack_folder / name)))
    assert says in refusal(load_pack, pack_folder, ops)
