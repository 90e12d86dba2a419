"""`cnn.export` of a run, and the exported folder in the commands that take a run."""

from __future__ import annotations

import contextlib
import io
import json
import shutil

import pytest

from cnn import check
from commands.small import QUICK


def test_an_exported_folder_is_used_like_the_run(command, workplace):
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    assert command("cnn.train", *QUICK, "trainer.epochs=2", "evaluate.tta=flip", "hydra.run.dir=out").status == 0
    outcome = command("cnn.export", "run=out", "output=shared", "weights=float16", "images=data/fer2013/test/sad")
    assert outcome.status == 0
    assert "Compared: on 28 inputs" in outcome.out
    shutil.move("out", "elsewhere")
    assert command("cnn.export", "run=shared", "output=n.onnx").status == 0
    assert command("cnn.export", "run=shared", "output=page.html", "faces=none").status == 0
    assert "default-src" in (workplace / "page.html").read_text()
    assert command("cnn.predict", "run=shared", "images=data/fer2013/test/sad", "csv=table.csv").status == 0
    assert "whole    model.safetensors" in _checked("shared")
    scored = command("cnn.evaluate", "run=shared", "split=test", "tta=flip", "out=.")
    assert scored.status == 0, scored.err
    evaluation = json.loads((workplace / "evaluation_test_flip.json").read_text())
    metrics = json.loads((workplace / "elsewhere/metrics.json").read_text())
    assert evaluation["accuracy"] == pytest.approx(metrics["test_accuracy"], abs=0.1)  # its weights are rounded
    card = (workplace / "shared/card.md").read_text()
    assert metrics["pack_hash"] in card
    assert f"Test accuracy with tta=flip {metrics['test_accuracy']:.4f}" in card
    assert "mean over several views" in card
    assert all(str(row).strip("[]").replace(", ", " | ") in card for row in metrics["confusion"])
    for wrong, message in (
        (("run=shared", "output=n.txt"), "no format has the ending"),
        (("run=nowhere", "output=n.onnx"), "no such folder"),
        (("run=shared", "output=n.onnx", "images=packs"), "no image"),
        (("run=shared", "output=page.html", "faces=maybe"), "choose auto, find or none"),
    ):
        assert message in command("cnn.export", *wrong).error


def _checked(folder: str) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert check.main([folder]) == 0
    return printed.getvalue()
