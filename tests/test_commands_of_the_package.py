"""What pyproject.toml says of the package: commands, extras, and the marks of its types."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SCRIPTS = PROJECT["scripts"]
SLOW_TO_IMPORT = ("sklearn", "scipy.stats", "scipy.optimize", "matplotlib", "optuna")
NO_COMMANDS = {"cnn.sweeping.job_process"}  # started by a sweep, not by a person


def entry_modules() -> set[str]:
    """Every module of the packages for users that runs by `python -m`."""
    found = set()
    for package in ("cnn", "data_tools"):
        for path in (ROOT / package).rglob("*.py"):
            tests = [node.test for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
            if any(ast.unparse(test) == "__name__ == '__main__'" for test in tests):
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    return found - NO_COMMANDS


def test_every_command_of_python_m_is_also_a_script():
    assert {target.partition(":")[0] for target in SCRIPTS.values()} == entry_modules()
    for name, target in SCRIPTS.items():
        module = target.partition(":")[0].removesuffix(".__main__").rpartition(".")[2]
        assert name == f"cnn-{module.replace('_', '-')}"


@pytest.mark.parametrize("target", SCRIPTS.values(), ids=list(SCRIPTS))
def test_a_script_is_a_function_that_needs_no_arguments(target):
    module, _, name = target.partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_no_command_imports_a_slow_package_before_it_needs_it():
    """Each of these takes half a second to two seconds, and is needed only after the work itself."""
    modules = ", ".join(target.partition(":")[0] for target in SCRIPTS.values())
    code = f"import sys, {modules}; print([name for name in {SLOW_TO_IMPORT} if name in sys.modules])"
    outcome = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert outcome.stdout == "[]\n"


def test_extras_name_extras_that_are_there():
    extras = PROJECT["optional-dependencies"]
    for needs in extras.values():
        for need in needs:
            if own := re.match(r"cnn-from-scratch\[(.+)\]$", need):
                assert set(own[1].split(",")) <= extras.keys()


def test_every_extra_has_its_line_in_the_page_about_installing():
    page = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    listed = {name for row in re.findall(r"^\| (`.+?) \|", page, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert set(PROJECT["optional-dependencies"]) <= listed


def test_every_command_that_docs_and_messages_name_is_there():
    known = {*SCRIPTS, "cnn-from-scratch"}
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        named = set(re.findall(r"^(cnn-[a-z-]+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert named <= known, path


def test_the_command_that_installs_an_extra_is_written_in_one_place():
    """A wheel's user has no checkout, and a checkout's user no wheel: `install_command` knows which."""
    for package in ("cnn", "data_tools", "foundation", "hydra_plugins"):
        for path in (ROOT / package).rglob("*.py"):
            said = re.search(r"pip install (-c|-e|['\"]?cnn-from)", path.read_text(encoding="utf-8"))
            assert said is None or path.name == "extras.py", path


def test_every_extra_that_a_message_names_is_there():
    extras = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    )
    named = set()
    for package in ("cnn", "data_tools", "foundation", "hydra_plugins"):
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            for call in ast.walk(ast.parse(text)):
                place = {"install_command": 0, "needed": 2}.get(getattr(getattr(call, "func", None), "id", ""))
                if place is not None and isinstance(call.args[place], ast.Constant):
                    named.add(call.args[place].value)
    assert len(named) >= 10
    assert named <= extras
    table = (ROOT / "docs/installation.md").read_text(encoding="utf-8")
    rows = [re.findall(r"`([a-z0-9]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    explained = [name for row in rows for name in row]
    assert set(explained) == extras
    assert len(explained) == len(extras), "one is explained twice"


def test_packages_are_marked_as_typed():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    packages = [name for name in wheel["wheel"]["packages"] if (ROOT / name / "__init__.py").is_file()]
    assert len(packages) >= 4
    for package in packages:
        assert (ROOT / package / "py.typed").is_file(), package
