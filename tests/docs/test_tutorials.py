"""The tutorials are followed in an empty folder: the files they write are written, their commands run.

Of the page that takes long only the options of the commands are composed; a sweep is what tests/commands does.
"""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path

import pytest
from following import ROOT, apply, steps

from commands.conftest import command, real_plots  # noqa: F401 - fixtures

TUTORIALS = ROOT / "docs" / "tutorials"


@pytest.mark.slow
@pytest.mark.parametrize(("page", "rest"), [
    ("own_images", []), ("audit", []), ("first_network", ["--cfg", "job"]),
])  # fmt: skip
def test_a_tutorial_can_be_followed(page, rest, command, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    ran = 0
    for step in steps((TUTORIALS / f"{page}.md").read_text(encoding="utf-8")):
        if step.verb == "write":
            apply(step, tmp_path)
        elif step.verb == "run":
            for line in step.text.splitlines():
                _, *words = shlex.split(line)
                if words[0] == "-m":
                    outcome = command(words[1], *words[2:], *rest)
                    assert outcome.status == 0, f"{line}: {outcome.err}"
                else:
                    runpy.run_path(words[0], run_name="__main__")
                ran += 1
    assert ran


def test_every_tutorial_is_in_the_navigation_of_the_site():
    named = re.findall(r"tutorials/(\w+)\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(named) == sorted(path.stem for path in Path(TUTORIALS).glob("*.md"))
