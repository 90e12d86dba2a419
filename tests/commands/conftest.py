from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from commands.small import Outcome, write_faces

Command = Callable[..., Outcome]


def _small_plot(*arguments: Any) -> None:
    (path,) = (argument for argument in arguments if isinstance(argument, Path))
    Image.new("L", (1, 1)).save(path)


@pytest.fixture
def real_plots() -> None:
    """For a test that wants a run's plots; the others get images of one pixel, because plots take most of the time."""


@pytest.fixture
def command(request, monkeypatch, capfd) -> Command:
    """Run `python -m <module> <arguments>` in this process, for speed."""
    if "real_plots" not in request.fixturenames:
        for plot in ("plot_confusion_matrix", "plot_curves", "plot_predictions"):
            monkeypatch.setattr(f"cnn.reporting.run_files.{plot}", _small_plot)
        monkeypatch.setattr("cnn.reporting.leaderboard_plot.plot_leaderboard", _small_plot)
        monkeypatch.setattr("cnn.reporting.search_plot.plot_search", _small_plot)
    # Hydra composes the config once more for `hydra.mode`, which conf/ does not set; without a mode it goes by -m.
    monkeypatch.setattr("hydra._internal.hydra.Hydra.get_mode", lambda *_, **__: None)

    def run(module: str, *arguments: str) -> Outcome:
        main = importlib.import_module(module).main
        monkeypatch.setattr(sys, "argv", [f"{module.replace('.', '/')}.py", *arguments])
        capfd.readouterr()
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capfd.readouterr()
        return Outcome(status, captured.out, captured.err)

    return run


@pytest.fixture
def workplace(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a small class-folder data set in data/fer2013."""
    monkeypatch.chdir(tmp_path)
    write_faces(tmp_path / "data" / "fer2013")
    return tmp_path
