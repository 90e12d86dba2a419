"""What is printed is also in the log of a run, as plain text, and nothing outside its folder is written to."""

import io
import logging
import os
import sys

import pytest
from rich.progress import Progress
from rich.table import Table

from foundation.errors import UserError
from foundation.output import lasting_output, logged
from foundation.progress import Pulse
from foundation.screen import Screen
from foundation.verbosity import show_details


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def console(request):
    """A console on the standard output, with and without the codes of a terminal."""
    return lambda: Screen(force_terminal=request.param, width=60, legacy_windows=False)


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_lines_tables_and_errors_are_in_it_without_codes_and_bars(console, tmp_path, capsys):
    path = tmp_path / "run" / "train.log"
    with lasting_output():
        print("before")
        with logged(path) as begin:
            begin()
            print("a line", "\x1b[31mred\x1b[0m")
            print("an error", file=sys.stderr)
            screen = console()
            table = Table("class", title="scores")
            table.add_row("happy")
            with Progress(console=screen, transient=True, refresh_per_second=1000) as bar:
                task = bar.add_task("a bar", total=3)
                for _ in range(3):
                    bar.advance(task)
                    bar.refresh()
                screen.print(table)
                screen.print("[bold]epoch[/bold]   1", highlight=False)
                print("in between")
        print("after")
    shown = lines(path)
    assert shown[0].startswith("--- 20")
    assert shown[1:3] == ["a line \\x1b[31mred\\x1b[0m", "an error"]
    text = "\n".join(shown)
    assert "scores" in text
    assert "happy" in text
    assert [line for line in shown if line][-2:] == ["epoch   1", "in between"]
    assert "\x1b" not in text
    assert "a bar" not in text
    assert text.count("happy") == 1
    assert not {"before", "after"} & set(shown)
    assert "before" in capsys.readouterr().out


def test_lines_about_progress_are_of_the_moment(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Pulse, "_last", float("-inf"))
    now = [0.0]
    with lasting_output(), logged(tmp_path / "log") as begin:
        begin()
        pulse = Pulse(clock=lambda: now[0])
        pulse.begin("reading", 100)
        now[0] = 1e6
        pulse.update(10)
        print("a result")
    assert "reading: 10 of 100" in capsys.readouterr().err
    assert lines(tmp_path / "log")[1:] == ["a result"]


def failing(path, error):
    with logged(path) as begin:
        print("kept until then")
        begin()
        raise error


def test_a_run_that_goes_on_adds_to_its_log_and_an_error_is_in_it(tmp_path):
    path = tmp_path / "log"
    with lasting_output():
        with pytest.raises(UserError), logged(path):
            raise UserError("refused before the work began")
        assert not path.exists()
        with pytest.raises(UserError):
            failing(path, UserError("data.root=nowhere: there is no such folder"))
        with pytest.raises(ZeroDivisionError):
            failing(path, ZeroDivisionError("division by zero"))
        with logged(path) as begin:
            print("again")
            begin()
    shown = lines(path)
    assert sum(line.startswith("--- ") for line in shown) == 3
    assert shown[1:3] == ["kept until then", "error: data.root=nowhere: there is no such folder"]
    assert "ZeroDivisionError: division by zero" in shown
    assert shown[-1] == "again"


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("link", [os.symlink, os.link, lambda _, path: os.mkfifo(path)], ids=["soft", "hard", "pipe"])
def test_nothing_outside_the_folder_is_written_to(link, tmp_path):
    """The folder of a run that is resumed may be a stranger's."""
    (tmp_path / "precious").write_text("mine")
    link(tmp_path / "precious", tmp_path / "train.log")
    with lasting_output(), logged(tmp_path / "train.log") as begin:
        begin()
        print("a line")
    assert (tmp_path / "precious").read_text() == "mine"
    assert lines(tmp_path / "train.log")[1:] == ["a line"]


def test_a_full_disk_ends_the_log_and_not_the_run(tmp_path, monkeypatch, capsys):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.open", lambda *_, **__: Full())
    with lasting_output(), logged(tmp_path / "log") as begin:
        begin()
        print("still here")
    assert "still here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verbose", "seen"),
    [(False, []), (True, ["cnn.x", "data_tools.y"]), ("numba", ["numba"]), (["cnn.x", "other"], ["cnn.x", "other"])],
    ids=str,
)
def test_verbose_shows_the_details_of_the_named_loggers(verbose, seen, capsys):
    logging.getLogger().setLevel(logging.DEBUG)  # as Hydra does
    try:
        show_details(verbose)
        for name in ("cnn.x", "data_tools.y", "numba", "other"):
            logging.getLogger(name).debug("detail %d", 1)
        assert capsys.readouterr().out.splitlines() == [f"[{name}] detail 1" for name in seen]
        assert not logging.getLogger("PIL.Image").isEnabledFor(logging.DEBUG)
    finally:
        show_details(False)
        for name in ("numba", "other", "cnn.x"):
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).setLevel(logging.NOTSET)
            logging.getLogger(name).propagate = True
