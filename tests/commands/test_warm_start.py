"""`start_from=RUN` and `freeze=...`: a run that begins with the weights of another one."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from cnn.training.checkpoint import BEST, LAST, load_checkpoint
from cnn.training.loop import Trainer
from commands.small import QUICK

FACES = [*QUICK, "trainer.epochs=1"]


@pytest.fixture
def first(command, workplace):
    """A finished run in `first`."""
    assert command("cnn.train", *FACES, "hydra.run.dir=first").status == 0
    return workplace / "first"


def tensors(folder, name=BEST):
    return load_checkpoint(folder / name)[0]


def is_head(name):
    return name.startswith("dense_3.")


def test_a_run_with_frozen_features_changes_its_head_alone(command, workplace, first):
    outcome = command("cnn.train", *FACES, "start_from=first", "freeze=features", "seed=5", "hydra.run.dir=second")
    assert outcome.status == 0, outcome.err
    assert "began with the weights of first, epoch 1\n" in outcome.out
    before, (after, metadata) = tensors(first), load_checkpoint(workplace / "second" / BEST)
    for name, tensor in before.items():
        assert (tensor != after[name]).any() == is_head(name), name
    digest = hashlib.sha256((first / BEST).read_bytes()).hexdigest()
    assert metadata["start"] == {"run": "first", "epoch": 1, "sha256": digest, "new_layer": None}


def test_without_steps_of_any_size_the_weights_are_those_of_the_run(command, workplace, first):
    still = ["optimizer.learning_rate=1e-30", "start_from=first", "seed=5", "hydra.run.dir=second"]
    assert command("cnn.train", *FACES, *still).status == 0
    after = tensors(workplace / "second")
    for name, tensor in tensors(first).items():
        if not name.endswith((".mean", ".variance")):
            np.testing.assert_array_equal(after[name], tensor, err_msg=name)


def test_other_classes_get_a_head_of_their_own(command, workplace, first):
    keep = ["data.classes=[angry,happy,neutral]", "start_from=first", "freeze=features", "hydra.run.dir=second"]
    for split in ("train", "validation", "test"):
        for folder in (workplace / "data" / "fer2013" / split).iterdir():
            if folder.name not in ("angry", "happy", "neutral"):
                for image in folder.iterdir():
                    image.unlink()
                folder.rmdir()
    outcome = command("cnn.train", *FACES, *keep)
    assert outcome.status == 0, outcome.err
    assert "dense_3 is new, since the classes differ" in outcome.out
    after = tensors(workplace / "second")
    for name, tensor in tensors(first).items():
        if is_head(name):
            assert after[name].shape[-1] == 3
        else:
            np.testing.assert_array_equal(after[name], tensor, err_msg=name)


class Killed(Exception):
    pass


OPTIONS = [*QUICK, "trainer.epochs=3", "start_from=first", "freeze=batch_norm_1", "augment=flip_shift"]


@pytest.fixture
def broken(command, first, monkeypatch):
    """A run that was killed in its second epoch."""
    original = Trainer._train_epoch

    def killed(self, *arguments):
        if self.epoch == 1:
            raise Killed
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_train_epoch", killed)
        with pytest.raises(Killed):
            command("cnn.train", *OPTIONS, "hydra.run.dir=broken")


@pytest.mark.usefixtures("broken")
def test_a_warm_started_run_resumes_bit_for_bit_without_the_run_that_it_began_with(command, workplace, first):
    assert command("cnn.train", *OPTIONS, "hydra.run.dir=whole").status == 0
    first.rename(workplace / "elsewhere")
    outcome = command("cnn.train", "resume=broken")
    assert outcome.status == 0, outcome.err
    for name in (BEST, LAST):
        whole, resumed = (load_checkpoint(workplace / folder / name) for folder in ("whole", "broken"))
        assert whole[0].keys() == resumed[0].keys()
        for tensor in whole[0]:
            np.testing.assert_array_equal(whole[0][tensor], resumed[0][tensor], err_msg=tensor)
        assert whole[1]["start"] == resumed[1]["start"]
        assert resumed[1]["start"]["run"] == "first"


@pytest.mark.usefixtures("broken")
def test_a_run_resumes_with_its_own_beginning_alone(command):
    for option in ("freeze=conv2d_2", "freeze=null", "start_from=elsewhere", "start_from=null"):
        name = option.partition("=")[0]
        assert f"was made with another {name}" in command("cnn.train", "resume=broken", option).error


BAD = {
    "no run": (["start_from=nowhere"], "nowhere/model.best.safetensors is missing"),
    "another network": (["start_from=first", "model.widths=[4,9]"], "first/model.best.safetensors: "),
    "another depth": (["start_from=first", "model=small"], "first/model.best.safetensors is not of model 'small'"),
    "random weights": (["freeze=features"], "freeze=features keeps weights as they are, but they would be random"),
    "no such layer": (["start_from=first", "freeze=conv2d_7"], "freeze=conv2d_7: there is no node 'conv2d_7'"),
    "nothing to train": (["start_from=first", "freeze=dense_3"], "freeze=dense_3 leaves nothing to train"),
}


def test_a_wrong_beginning_is_one_line(command, first):
    for options, says in BAD.values():
        model = [option for option in FACES if not (option.startswith("model") and "model=small" in options)]
        assert says in command("cnn.train", *model, *options).error
    content = (first / BEST).read_bytes()
    for damaged in (content[:100], b"", b"\x80\x04K\x01."):
        (first / BEST).write_bytes(damaged)
        assert "is not a whole safetensors file" in command("cnn.train", *FACES, "start_from=first").error
