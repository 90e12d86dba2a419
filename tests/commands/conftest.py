from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands.small import Outcome, write_faces

Command = Callable[..., Outcome]


@pytest.fixture
def command(monkeypatch, capfd) -> Command:
    """Run `python -m <module> <arguments>` in this process, for speed."""

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
