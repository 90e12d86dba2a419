"""Printing to consoles without some characters, and to a pipe that nobody reads any more."""

import io
import os
import sys

import pytest

from foundation.output import lasting_output


def stream(handle: int, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(io.FileIO(handle, "w"), 64), encoding, errors="strict")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_characters_that_the_console_lacks_are_escaped(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, "stdout", stream(writer, encoding))
    text = "é 怒 ━ … \udcff"
    with lasting_output():
        print(text)
    sys.stdout.close()
    with os.fdopen(reader, "rb") as file:
        assert file.read() == (text + "\n").encode(encoding, "backslashreplace")


@pytest.mark.parametrize("which", ["stdout", "stderr"])
@pytest.mark.parametrize("lines", [1, 1000])  # less than the buffer, found at the last flush, and more
def test_a_closed_pipe_does_not_end_the_work(which: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    monkeypatch.setattr(sys, which, stream(writer, "utf-8"))
    done = []
    with lasting_output():
        for number in range(lines):
            print(number, file=getattr(sys, which))
            done.append(number)
    getattr(sys, which).close()  # as the interpreter does at its end
    assert len(done) == lines


def test_other_errors_are_raised_and_the_streams_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "no space left")

    full = Full()
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(OSError, match="no space"), lasting_output():
        print("x")
    assert sys.stdout is full
    monkeypatch.setattr(sys, "stdout", None)
    with lasting_output():
        print("nowhere")


@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_a_line_is_there_when_it_is_printed(which: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    monkeypatch.setattr(sys, which, stream(writer, "utf-8"))
    with lasting_output():
        print("epoch 1", file=getattr(sys, which))
        os.set_blocking(reader, False)
        assert os.read(reader, 100) == b"epoch 1\n"
    getattr(sys, which).close()
    os.close(reader)
