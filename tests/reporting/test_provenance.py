"""Provenance: the revision of the right checkout or none, and nothing that names a folder."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime

import numpy as np
import pytest

from cnn.reporting.provenance import collect_provenance, git_state, versions


@pytest.fixture
def checkout(tmp_path):
    """A git checkout with a package folder in it."""
    package = tmp_path / "project" / "package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(package.parent), *command], check=True)
    return package


def test_revision_and_dirty(checkout):
    expected = subprocess.run(
        ["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    assert re.fullmatch("[0-9a-f]{40}", expected)
    assert git_state(checkout) == {"revision": expected, "dirty": False}
    (checkout.parent / "untracked.txt").write_text("a result lying about")
    assert git_state(checkout) == {"revision": expected, "dirty": False}
    (checkout / "__init__.py").write_text("changed = True\n")
    assert git_state(checkout) == {"revision": expected, "dirty": True}


def test_a_package_merely_installed_inside_a_checkout_has_no_revision(checkout):
    installed = checkout.parent / ".venv" / "package"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert git_state(installed) is None


def test_outside_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "__init__.py").write_text("")
    assert git_state(tmp_path) is None


def test_without_git(checkout, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(checkout) is None


def test_inside_a_git_hook_the_environment_does_not_mislead(checkout, monkeypatch, tmp_path):
    expected = git_state(checkout)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert git_state(checkout) == expected


def test_versions():
    found = versions()
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert {"scipy", "pillow", "scikit-learn", "hydra-core", "cnn-from-scratch"} <= set(found)


def test_json_ready_and_without_paths():
    started = datetime(2024, 2, 29, 12, 30, 5, 123456, tzinfo=UTC)
    found = collect_provenance(started)
    text = json.dumps(found, allow_nan=False)
    assert datetime.fromisoformat(found["started"]) == started.replace(microsecond=0)
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["cpu"]
    assert os.getcwd() not in text
    assert os.path.expanduser("~") + "/" not in text
    assert platform.node() not in found["machine"].values()
