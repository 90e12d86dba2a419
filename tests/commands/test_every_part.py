"""A run with every part of a recipe that is killed, against one that is not."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

from cnn.training.checkpoint import load_checkpoint
from commands.small import QUICK
from training.states import without_times

ROOT = Path(__file__).resolve().parents[2]
OTHERS = tuple(option for option in QUICK if not option.startswith(("model", "augment", "trainer.epochs")))
EVERY_PART = (
    *OTHERS,
    *("model=se_resnet_small", "model.widths=[4,8,8]", "model.squeezed=[2,2,2]", "model.drop_path=0.3"),
    *("augment=strong", "augment.rotate=15", "augment.zoom=0.1", "augment.shift=0.1", "augment.erase=0.3"),
    *("augment.crop=0.7", "augment.brightness=0.2", "augment.contrast=0.2"),
    *("augment.mixup=0.4", "augment.cutmix=1.0", "augment.mix_probability=0.7"),
    *("optimizer=sgd", "optimizer.weight_decay=1e-3", "schedule=one_cycle", "schedule.base_momentum=0.6"),
    *("trainer.epochs=5", "trainer.sizes=[[8,2]]", "trainer.ema=0.9", "trainer.lookahead=3"),
    *("trainer.label_smoothing=0.1", "trainer.class_weights=balanced", "trainer.clip_norm=1.0"),
    *("evaluate.tta=flip", "report.images=false", "baselines.logistic_regression_up_to=0"),
)
TEACHERS = ("distil.teacher=[a,b]", "distil.temperature=2.0")

KILLED = textwrap.dedent("""
    import os, signal
    import cnn.train

    write = cnn.train.write_history

    def write_or_die(path, rows):
        if len(rows) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        write(path, rows)

    cnn.train.write_history = write_or_die
    cnn.train.main()
""")


def test_it_goes_on_with_the_same_teachers_to_the_same_bits(command, workplace):
    """Killed in an epoch of full size, after two of smaller images, and resumed on another number of threads."""
    for name, seed in (("a", 1), ("b", 2)):
        assert command("cnn.train", *QUICK, f"seed={seed}", f"hydra.run.dir={name}").status == 0
    for name, options in (("whole", TEACHERS), ("alone", ())):
        outcome = command("cnn.train", *EVERY_PART, *options, f"hydra.run.dir={name}")
        assert outcome.status == 0, outcome.err
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", KILLED, *EVERY_PART, *TEACHERS, "hydra.run.dir=killed"]
    assert subprocess.run(arguments, env=environment, check=False).returncode == -signal.SIGKILL

    error = command("cnn.train", "resume=killed", "distil.teacher=[a]").error
    assert "another distil" in error
    outcome = command("cnn.train", "resume=killed", "backend.threads=1")
    assert outcome.status == 0, outcome.err
    assert "resumed after epoch 3" in outcome.out

    (tensors, facts), (expected, whole), (without, _) = (
        load_checkpoint(Path(name, "checkpoint.last.safetensors")) for name in ("killed", "whole", "alone")
    )
    assert tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensors[name], tensor, err_msg=name)
    assert any((without[name] != tensor).any() for name, tensor in expected.items() if name.startswith("model/"))
    assert without_times(facts["training"]["history"]) == without_times(whole["training"]["history"])
    teachers = [hashlib.sha256(Path(name, "model.best.safetensors").read_bytes()).hexdigest() for name in "ab"]
    assert facts["distil"]["teachers"] == teachers
    assert Path("killed/model.best.safetensors").read_bytes() == Path("whole/model.best.safetensors").read_bytes()
    scores = [json.loads(Path(name, "metrics.json").read_text()) for name in ("killed", "whole")]
    for key in ("val_accuracy", "val_accuracy_tta", "test_accuracy", "test_log_loss", "confusion", "thresholds"):
        assert scores[0][key] == scores[1][key], key
