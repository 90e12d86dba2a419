"""Without the extra `audit`, OpenCV and FAISS: equal images are found, and what was not looked for is said."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from drawn import Pack, configured, files_of, prepared, write_tree

from data_tools.audit import audit
from data_tools.prepare import prepare
from foundation.errors import UserError
from foundation.extras import install_command
from foundation.files import read_json

SEARCHED = ["near", "mirrored", "augmented"]
SEARCHES = {"strangers": 1}  # the images of noise are searched, whatever they have in common


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_tree(tmp_path / "data" / "tiny", files_of({"train": 4, "test": 3, "validation": 3}))
    return tmp_path / "data"


@pytest.fixture(params=["cv2", "faiss"])
def missing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """One of the two packages is not there."""
    monkeypatch.setitem(sys.modules, request.param, None)
    return request.param


def test_the_default_finds_equal_images_and_says_what_was_not_looked_for(
    root: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = prepared(configured(root, "tiny", duplicates="auto", data={"audit": "auto"}))
    assert pack.json["options"]["merge"]["duplicates"] == "pixels"
    found = pack.json_beside("audit.json")
    assert list(found["levels"]) == ["bytes", "pixels"]
    assert found["not_looked_for"]["levels"] == SEARCHED
    assert "[audit]" in found["not_looked_for"]["reason"]
    for text in (capsys.readouterr().out, (pack.folder / "audit.html").read_text()):
        said = text.casefold()[text.casefold().index("not looked for") :]
        assert all(level in said for level in SEARCHED)
        assert "[audit]" in said


def test_the_audit_says_so_too(root: Path, missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    audit(configured(root, "tiny", duplicates="auto", data={"audit": "auto"}), root.parent / "out")
    assert read_json(root.parent / "out" / "audit.json")["not_looked_for"]["levels"] == SEARCHED
    assert "not looked for" in capsys.readouterr().out


@pytest.mark.parametrize("level", SEARCHED)
@pytest.mark.parametrize("key", ["merge.duplicates", "data.audit"])
def test_a_searched_level_that_is_asked_for_says_what_to_install(
    root: Path, missing: str, key: str, level: str
) -> None:
    options = {"duplicates": level} if key == "merge.duplicates" else {"data": {"audit": level}}
    with pytest.raises(UserError, match=rf"{key}={level} .*{re.escape(install_command('audit'))}") as refusal:
        prepare(configured(root, "tiny", **options))
    assert "\n" not in str(refusal.value)
    assert not (root.parent / "packs").exists()


def test_with_it_the_default_looks_for_everything(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = prepared(configured(root, "tiny", duplicates="auto", data={"audit": "auto"}, twins=SEARCHES))
    assert pack.json["options"]["merge"]["duplicates"] == "augmented"
    assert pack.json_beside("audit.json")["not_looked_for"] == {"levels": [], "reason": ""}
    assert "not looked for" not in capsys.readouterr().out
    assert "duplicates of the level" not in (pack.folder / "audit.html").read_text()


def test_a_level_below_is_named_as_the_reason(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack = prepared(configured(root, "tiny", duplicates="bytes", data={"audit": "near"}, twins=SEARCHES))
    assert pack.json_beside("audit.json")["not_looked_for"] == {
        "levels": ["mirrored", "augmented"], "reason": "data.audit=near"
    }  # fmt: skip
    assert "mirrored, augmented (data.audit=near)" in capsys.readouterr().out


def test_a_pack_made_with_the_search_is_used_where_there_is_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The pack was made on a machine with the extra: it is better than one that would be made here."""
    config = configured(root, "tiny", duplicates="auto", data={"audit": "auto"})
    made = prepare(config)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert prepare(config) == made
    assert "using the pack" in capsys.readouterr().out
    assert [pack.name for pack in made.parent.iterdir() if not pack.name.startswith(".")] == [made.name]
    assert Pack(made).json["options"]["merge"]["duplicates"] == "augmented"
