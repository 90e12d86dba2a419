"""The provenance of a result: code revision, library versions, machine, time; no paths of the machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
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
    off = _without_filters(source)
    if off is None or _git(source, off, "ls-files", "--error-unmatch", "__init__.py") is None:
        return None
    revision = _git(source, off, "rev-parse", "HEAD")
    changes = _git(source, off, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all")
    if revision is None or changes is None:
        return None
    return {"revision": revision, "dirty": bool(changes)}


# Settings that would run a program, each switched off.
_NO_PROGRAMS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=",
    "core.sshCommand=false",
    "core.editor=false",
    "core.askPass=",
    "core.alternateRefsCommand=",
    "credential.helper=",
    "diff.external=",
)
_KEPT = ("HOME", "USERPROFILE", "SYSTEMROOT", "TMPDIR", "TEMP")  # all that git sees of the environment


def _without_filters(source: Path) -> tuple[str, ...] | None:
    """Settings that switch off every filter of file contents; None for one whose name cannot be given."""
    keys = _git(source, (), "config", "-z", "--name-only", "--get-regexp", r"^filter\..*\.(clean|smudge|process)$")
    names = [key for key in (keys or "").split("\0") if key]
    return None if any("=" in name or "\n" in name for name in names) else tuple(f"{name}=" for name in names)


def _git(folder: Path, settings: Sequence[str], *arguments: str) -> str | None:
    """The output of a git command, None if it fails. No program runs that settings or the environment name."""
    if (program := _program("git")) is None:
        return None
    environment = {key: os.environ[key] for key in _KEPT if key in os.environ}
    # A lock would block git commands of the user.
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    given = [part for setting in (*_NO_PROGRAMS, *settings) for part in ("-c", setting)]
    try:
        done = subprocess.run(
            [program, "--no-pager", *given, "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _program(name: str) -> str | None:
    """The absolute path of a program on the PATH, None without one; those of the current folder do not count.

    Somebody may stand in a folder that a stranger has made.
    """
    here = Path.cwd().resolve()
    for entry in os.environ.get("PATH", "").split(os.pathsep):
        if not os.path.isabs(entry):
            continue
        found = shutil.which(name, path=entry)
        if found is not None and here not in (folder := Path(found).resolve().parent, *folder.parents):
            return found
    return None


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
