"""Git, asked for the revision, runs no program that an environment, a repository or a folder on the PATH names."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from cnn.reporting.provenance import git_state

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def program(path: Path, marker: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho ran > {marker}\ncat\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with a package, whose file has another time than the index says."""
    folder = tmp_path / "checkout"
    (folder / "package").mkdir(parents=True)
    (folder / "package/__init__.py").write_text("x = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x")
    os.utime(folder / "package/__init__.py", (1, 1))
    return folder / "package"


SETTINGS = (
    *("core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass", "core.alternateRefsCommand"),
    *("diff.external", "alias.status", "alias.rev-parse", "filter.x.clean", "filter.y.process", "credential.helper"),
    *("core.hooksPath", "include.path"),
)
VARIABLES = ("EXTERNAL_DIFF", "PAGER", "SSH_COMMAND", "ASKPASS", "EDITOR", "PROXY_COMMAND", "EXEC_PATH")


@pytest.mark.parametrize("place", ["environment", "global", "repository"])
def test_no_setting_of_git_runs_a_program(checkout, tmp_path, monkeypatch, place):
    values = {key: str(program(tmp_path / "own" / key, tmp_path / f"MARKER {key}")) for key in SETTINGS}
    for hook in ("post-index-change", "fsmonitor-watchman", "reference-transaction"):
        program(tmp_path / "hooks" / hook, tmp_path / f"MARKER {hook}")
    (tmp_path / "included").write_text(f"[core]\n\tfsmonitor = {values['include.path']}\n")
    values |= {"core.hooksPath": str(tmp_path / "hooks"), "include.path": str(tmp_path / "included")}
    values |= {key: f"!{value}" for key, value in values.items() if key.startswith(("alias", "credential"))}
    (checkout / ".gitattributes").write_text("*.py filter=x\n__init__.py filter=y\n")
    if place == "global":
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        (tmp_path / "home").mkdir()
    if place == "environment":
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(values)))
        for number, (key, value) in enumerate(values.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
        for name in VARIABLES:
            monkeypatch.setenv(f"GIT_{name}", str(program(tmp_path / "own" / name, tmp_path / f"MARKER {name}")))
    else:
        for key, value in values.items():
            git(checkout, "config", "--global" if place == "global" else "--local", key, value)
    state = git_state(checkout)
    assert [path.name for path in tmp_path.glob("MARKER*")] == []
    assert state is not None
    assert state["dirty"] is False  # .gitattributes is not tracked, and a time is no change


def test_a_filter_whose_name_no_option_can_give_costs_the_revision(checkout, tmp_path):
    config = checkout.parent / ".git" / "config"
    own = program(tmp_path / "own", tmp_path / "MARKER")
    config.write_text(config.read_text() + f'[filter "a=b"]\n\tclean = {own}\n')
    (checkout / ".gitattributes").write_text("* filter=a=b\n")
    assert git_state(checkout) is None
    assert not (tmp_path / "MARKER").exists()


def test_no_git_of_the_current_folder_is_run(checkout, tmp_path, monkeypatch):
    here = tmp_path / "here"
    for name in ("git", "bin/git", "git.exe", "git.bat"):
        program(here / name, tmp_path / "MARKER")
    monkeypatch.chdir(here)
    entries = ["", ".", "bin", str(here), str(here / "bin"), f"{here}/../here/bin", os.environ["PATH"]]
    monkeypatch.setenv("PATH", os.pathsep.join(entries))
    assert git_state(checkout) is not None
    assert not (tmp_path / "MARKER").exists()


def test_without_a_path_there_is_no_revision(checkout, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert git_state(checkout) is None
