"""Control characters of text from files never reach a terminal; the console's own codes do."""

import io
import os
import sys

import pytest
from rich.table import Table
from rich.text import Text

from foundation.output import lasting_output, visible
from foundation.screen import Screen

HOSTILE = [
    "\x1b[2J", "\x1b]52;c;ZXZpbA==\x07", "\x1b]0;title\x07", "\x1b[1A\x1b[2K", "\x9b31m", "\x07", "\x08\x08", "\rok",
    "\x7f", "\x00", "\x85", "\u202egnp.exe", "\u2066x\u2069", "\u2028x", "\x1bP+q\x1b\\", "\x0b\x0c",
]  # fmt: skip


def shown(raw: bytes) -> str:
    return raw.decode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("way", ["print", "error", "table", "markup", "console"])
def test_no_code_in_text_reaches_the_output(text, way, monkeypatch):
    reader, writer = os.pipe()
    which = "stderr" if way == "error" else "stdout"
    monkeypatch.setattr(sys, which, io.TextIOWrapper(io.FileIO(writer, "w"), "utf-8"))
    with lasting_output():
        console = Screen(width=200, force_terminal=True, legacy_windows=False)
        if way in ("print", "error"):
            print(f"a {text} b", file=getattr(sys, which))
        elif way == "console":
            console.print(f"a {text} b", markup=False, highlight=False)
        else:
            table = Table(title="t")
            table.add_column(f"a {text}" if way == "markup" else "x")
            table.add_row(Text(f"a {text} b"))
            console.print(table)
    getattr(sys, which).close()
    with os.fdopen(reader, "rb") as file:
        output = shown(file.read())
    for piece in ("\x1b[1m", "\x1b[3m", "\x1b[0m"):  # of the console: bold, italic, and their end
        output = output.replace(piece, "")
    assert [letter for letter in output if letter != "\n" and visible(letter) != letter] == []
    assert "a " in output


def test_the_console_keeps_its_own_colours_and_other_text_stays(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with lasting_output():
        Screen(force_terminal=True, legacy_windows=False, color_system="standard").print("[red]é 怒 😀[/red]")
        print("é 怒 😀\tx")
    assert "\x1b[31m" in stream.getvalue()
    assert "é 怒 😀" in stream.getvalue()
    assert stream.getvalue().endswith("é 怒 😀\tx\n")
