"""The provenance of a result: code revision, library versions, machine, time; no paths of the machine."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGE = "cnn-from-scratch"
LIBRARIES = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "scipy", "pillow", "scikit-learn", "hydra-core")

_SOURCE = Path(__file__).resolve().parents[1]


def collect_provenance(started: datetime | None = None, source: Path = _SOURCE) -> dict[str, Any]:
    """The provenance in types of JSON; `started` defaults to now."""
    started = started or datetime.now(UTC)
    return {
        "started": started.astimezone().isoformat(timespec="seconds"),
        "git": git_state(source),
        "versions": versions(),
        "machine": {"cpu": _cpu_model(), "cores": _cores(), "platform": platform.platform()},
    }


def versions() -> dict[str, str | None]:
    """The versions of Python, of the libraries that influence results, and of this package; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in (*LIBRARIES, PACKAGE):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def git_state(source: Path = _SOURCE) -> dict[str, Any] | None:
    """`revision` of the checkout that holds the package folder `source`, and whether tracked files differ (`dirty`).

    None outside a checkout, without git, and for a package that is merely installed inside someone's checkout
    (a virtual environment in it): that revision would not be ours.
    """
    if _git(source, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _git(source, "rev-parse", "HEAD")
    changes = _git(source, "status", "--porcelain", "--untracked-files=no")
    if revision is None or changes is None:
        return None
    return {"revision": revision, "dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    """The output of a git command, None if it fails."""
    # In a git hook these variables name another repository. A lock would block git commands of the user.
    unset = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    environment["GIT_OPTIONAL_LOCKS"] = "0"
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    """The name of the processor; on Linux only this file has it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, flags=re.MULTILINE)
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def _cores() -> int:
    """The number of cores that this process may use; in a container it is smaller than the machine's."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
