"""What is read is what was written: packs by their hash, checkpoints by their checksum, weights that are numbers."""

from __future__ import annotations

import json
import os
import struct
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cnn.backends import get_ops
from cnn.models import build_model
from cnn.training.checkpoint import load_checkpoint, save_checkpoint
from cnn.training.pack import load_pack
from foundation import pack_hash
from foundation.errors import UserError

# --- packs ------------------------------------------------------------------------------------------------------


def rewrite(folder, name, change) -> None:
    array = np.load(folder / f"{name}.npy")
    np.save(folder / f"{name}.npy", change(array))


def flip(array: np.ndarray, bit: int = 0) -> np.ndarray:
    """One bit of one image."""
    changed = array.copy()
    changed.reshape(-1)[len(changed.reshape(-1)) // 2] ^= 1 << bit
    return changed


def swapped(labels: np.ndarray) -> np.ndarray:
    changed = labels.copy()
    changed[[0, -1]] = changed[[-1, 0]] if labels[0] != labels[-1] else (labels[0] + 1) % 3
    return changed


CHANGES = {
    "a flipped bit": ("images", flip),
    "images in another order": ("images", lambda images: images[::-1].copy()),
    "overwritten labels": ("labels", np.zeros_like),
    "two labels": ("labels", swapped),
    "labels of another type": ("labels", lambda labels: labels.astype(np.int32)),
    "the test split in training": ("splits", lambda splits: np.where(splits == 2, 0, splits).astype(np.uint8)),
    "one test image in training": ("splits", lambda splits: np.append(splits[:-1], np.uint8(0))),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_pack_is_refused_with_what_to_do(ops, pack_folder, change):
    load_pack(pack_folder, ops)
    rewrite(pack_folder, *CHANGES[change])
    with pytest.raises(UserError, match=r"not those that were written.*python -m data_tools.prepare"):
        load_pack(pack_folder, ops)


def test_another_order_of_the_classes_is_refused(ops, pack_folder):
    about = json.loads((pack_folder / "pack.json").read_text())
    about["classes"] = about["classes"][::-1]
    (pack_folder / "pack.json").write_text(json.dumps(about))
    with pytest.raises(UserError, match="not those that were written"):
        load_pack(pack_folder, ops)


def with_targets(folder, targets):
    """Add targets to the pack, and its hash with them."""
    arrays = [np.load(folder / f"{name}.npy") for name in ("images", "labels", "splits")]
    about = json.loads((folder / "pack.json").read_text())
    about["content_hash"] = pack_hash.content_hash(*arrays, about["classes"], targets)
    (folder / "pack.json").write_text(json.dumps(about))
    np.save(folder / "targets.npy", targets)


def test_changed_or_missing_targets_are_refused(ops, pack_folder, rng):
    targets = rng.dirichlet(np.ones(3), len(np.load(pack_folder / "labels.npy"))).astype(np.float32)
    with_targets(pack_folder, targets)
    found = load_pack(pack_folder, ops).splits["train"].targets
    np.testing.assert_array_equal(ops.to_numpy(found), targets[: len(found)])
    np.save(pack_folder / "targets.npy", targets[::-1])
    with pytest.raises(UserError, match="not those that were written"):
        load_pack(pack_folder, ops)
    (pack_folder / "targets.npy").unlink()
    with pytest.raises(UserError, match="not those that were written"):
        load_pack(pack_folder, ops)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda targets: targets[:-1], "float32"),
        (lambda targets: targets[:, :2], "float32"),
        (lambda targets: targets.astype(np.float64), "float64"),
        (lambda targets: targets * np.float32(1.1), "no distribution"),
        (lambda targets: targets * np.float32([2, 2, -1]), "no distribution"),
        (lambda targets: targets * np.float32(np.nan), "no distribution"),
    ],
)
def test_targets_that_are_no_distributions_are_refused(ops, pack_folder, change, says):
    targets = np.full((len(np.load(pack_folder / "labels.npy")), 3), 1 / 3, np.float32)
    with_targets(pack_folder, change(targets))
    with pytest.raises(UserError, match=says):
        load_pack(pack_folder, ops)


@pytest.fixture
def counted(monkeypatch, tmp_path):
    """The arrays that were hashed, with the memory of earlier processes in a folder of the test."""
    hashed = []
    whole = pack_hash.content_hash
    monkeypatch.setattr(pack_hash, "content_hash", lambda *arrays: hashed.append(1) or whole(*arrays))
    monkeypatch.setattr(pack_hash, "REMEMBERED_FROM", 1)
    monkeypatch.setattr(pack_hash, "_SETTLED", 0.05)
    monkeypatch.setattr(pack_hash, "_known", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return hashed


@pytest.mark.skipif(os.name != "posix", reason="nothing is remembered there")
def test_what_was_hashed_is_remembered_until_a_file_changes(ops, pack_folder, counted, monkeypatch):
    time.sleep(0.1)
    for _ in range(3):
        load_pack(pack_folder, ops)
    assert len(counted) == 1
    monkeypatch.setattr(pack_hash, "_known", {})  # another process
    load_pack(pack_folder, ops)
    assert len(counted) == 1
    before = (pack_folder / "images.npy").stat()
    rewrite(pack_folder, "images", flip)
    os.utime(pack_folder / "images.npy", ns=(before.st_atime_ns, before.st_mtime_ns))  # its date tells nothing
    time.sleep(0.1)
    with pytest.raises(UserError, match="not those that were written"):
        load_pack(pack_folder, ops)


@pytest.mark.skipif(os.name != "posix", reason="nothing is remembered there")
def test_a_pack_that_has_just_changed_is_not_remembered(ops, pack_folder, counted, monkeypatch):
    monkeypatch.setattr(pack_hash, "_SETTLED", 1000)
    for _ in range(2):
        load_pack(pack_folder, ops)
    assert len(counted) == 2


@pytest.mark.parametrize("content", [b"", b"[]", b'{"/x": 1}', b"\xff", b"{", b'{"/x": [1, 2]}'])
def test_a_damaged_memory_costs_nothing(ops, pack_folder, counted, tmp_path, content):
    place = tmp_path / "cache/cnn-from-scratch/packs.json"
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    time.sleep(0.1)
    load_pack(pack_folder, ops)
    assert len(counted) == 1


# --- checkpoints ------------------------------------------------------------------------------------------------

TENSORS = {
    "weight": np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32),
    "moment": np.random.default_rng(1).normal(size=(5,)),
    "count": np.array(7, np.int64),
    "nothing": np.zeros((0, 3), np.float32),
    "flags": np.array([True, False, True]),
}


def test_equal_content_gives_equal_files_that_the_library_reads(tmp_path):
    save_checkpoint(tmp_path / "a.safetensors", TENSORS, {"é": [1, None]})
    save_checkpoint(tmp_path / "b.safetensors", dict(reversed(TENSORS.items())), {"é": [1, None]})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        np.testing.assert_array_equal(found[name], tensor)


def test_any_flipped_bit_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, TENSORS, {"name": "x"})
    whole = path.read_bytes()
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        try:
            tensors, about = load_checkpoint(path)
        except UserError:
            continue
        # Only blanks in the header, and names of fields that nobody reads, may differ.
        assert about == {"name": "x"}
        for name, tensor in TENSORS.items():
            np.testing.assert_array_equal(tensors[name], tensor)


def test_a_changed_number_is_refused_though_the_file_is_whole(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, TENSORS, {})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<q", 7), struct.pack("<q", 8)))
    with pytest.raises(UserError, match="does not have its checksum"):
        load_checkpoint(path)


def test_a_file_of_an_earlier_version_has_no_checksum(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(TENSORS, path, {"format": "cnn-from-scratch/1", "about": "{}"})
    assert load_checkpoint(path)[0].keys() == TENSORS.keys()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["weight", "moment"])
def test_numbers_that_are_none_are_refused(tmp_path, bad, name):
    tensors = {key: tensor.copy() for key, tensor in TENSORS.items()}
    tensors[name].reshape(-1)[-1] = bad
    save_checkpoint(tmp_path / "a.safetensors", tensors, {})
    with pytest.raises(UserError, match=f"{name} holds NaN or infinity"):
        load_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_model_takes_no_weights_that_are_none(bad):
    model = build_model({"layers": [{"dense": {"units": 3}}]}, get_ops("numpy"), (4,), 3, 0)
    before, state = model.state(), model.state()
    state["dense_1.weight" if "dense_1.weight" in state else next(iter(state))].reshape(-1)[0] = bad
    with pytest.raises(UserError, match="NaN or infinity"):
        model.load_state(state, "the file")
    assert all((model.state()[name] == before[name]).all() for name in before)
    state = {name: tensor.astype(np.int64) for name, tensor in before.items()}
    with pytest.raises(UserError, match="numbers of type int64"):
        model.load_state(state, "the file")
