"""Job folders of a sweep, made by hand."""

from __future__ import annotations

import json


def make_job(folder, overrides, metrics=None, chosen_model=None, error=False):
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {text}\n" for text in overrides) or "[]\n")
    if chosen_model:
        text = json.dumps({"hydra": {"runtime": {"choices": {"model": chosen_model}}, "x": "${now:%Y}"}})
        (folder / ".hydra" / "hydra.yaml").write_text(text)  # JSON is YAML
    if metrics is not None:
        (folder / "metrics.json").write_text(json.dumps(metrics))
    if error:
        (folder / "error.txt").write_text("it broke")


def scored(seed, validation, test, **more):
    return {
        "val_accuracy": validation,
        "test_accuracy": test,
        "test_accuracy_interval": [test - 0.01, test + 0.01],
        "macro_f1": test - 0.1,
        "per_class": {},
        "parameters": 1000,
        "epochs": 3,
        "seconds": 10.0 + seed,
        "images_per_second": 500.0,
        "seed": seed,
        "model": "any",
        **more,
    }
