"""Lines about long work: none for short work, then one now and then."""

from __future__ import annotations

import io
import sys
import threading
from itertools import pairwise

import pytest

from data_tools.progress import bar
from foundation import progress
from foundation.progress import EACH, FIRST, Pulse, duration


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    monkeypatch.setattr(Pulse, "_last", float("-inf"))
    return Clock()


def run(clock: Clock, pulse: Pulse, stream: io.StringIO, seconds: float, items: int) -> list[tuple[float, str]]:
    """Work of `items` items that take `seconds` each: when which lines were printed."""
    printed = []
    for done in range(1, items + 1):
        clock.now += seconds
        pulse.update(done)
        if text := stream.getvalue():
            stream.truncate(0)
            stream.seek(0)
            printed.append((clock.now, text))
    return printed


def test_short_work_is_silent_and_long_work_speaks_now_and_then(clock: Clock) -> None:
    stream = io.StringIO()
    pulse = Pulse(stream, clock)
    pulse.begin("reading images", 90)
    assert run(clock, pulse, stream, 0.1, 90) == []
    pulse.begin("reading images", 1000)
    began = clock.now
    printed = run(clock, pulse, stream, 0.5, 1000)
    assert printed[0][0] - began == pytest.approx(FIRST)
    assert printed[0][1] == "reading images: 20 of 1,000, about 8 min left\n"
    waits = [later[0] - earlier[0] for earlier, later in pairwise(printed)]
    assert waits == pytest.approx([EACH] * len(waits))
    assert len(printed) == 17


def test_a_new_stage_does_not_speak_sooner_than_the_last_line_allows(clock: Clock) -> None:
    stream = io.StringIO()
    pulse, other = Pulse(stream, clock), Pulse(stream, clock)
    pulse.begin("one", 20)
    assert [line for _, line in run(clock, pulse, stream, 1, 20)] == ["one: 10 of 20, about 10 s left\n"]
    other.begin("two", 100)
    printed = run(clock, other, stream, 1, 100)
    assert printed[0][1] == "two: 20 of 100, about 80 s left\n"
    other.spoken()
    assert run(clock, other, stream, 1, int(EACH) - 1) == []


def test_what_follows_counts_and_an_unknown_total_tells_the_time(clock: Clock) -> None:
    stream = io.StringIO()
    pulse = Pulse(stream, clock)
    pulse.begin("epoch 1/3", 100, ahead=200)
    clock.now += 60
    pulse.update(50)
    assert stream.getvalue() == "epoch 1/3: 50 of 100, about 60 s left, 5 min with all that follows\n"
    pulse.begin("looking for candidates")
    clock.now += 600
    pulse.update(0)
    assert stream.getvalue().endswith("looking for candidates: 10 min so far\n")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (7800, "2 h 10 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_work_that_reports_nothing_is_spoken_of_by_the_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all waits zero the thread prints without any call."""
    for name in ("FIRST", "EACH", "_WAKE"):
        monkeypatch.setattr(progress, name, 0)
    told = threading.Event()

    class Told(io.StringIO):
        def flush(self) -> None:
            told.set()

    stream = Told()
    with Pulse(stream) as pulse:
        pulse.begin("fitting")
        assert told.wait(60)
    assert stream.getvalue().startswith("fitting: 0 s so far\n")


def test_the_stages_of_the_data_tools_speak_on_the_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "FIRST", 0)
    monkeypatch.setattr(progress, "EACH", 0)
    assert not sys.stderr.isatty()
    with bar("reading images", 3) as reading:
        for _ in range(3):
            reading.advance()
    with bar("finding duplicates") as finding:
        finding.report("comparing candidates", 8192, 20000)
        finding.report("comparing candidates", 16384, 20000)
        finding.report("joining groups: near", 0, 0)
    lines = capsys.readouterr().err.splitlines()
    for start in (
        "reading images: 3 of 3",
        "comparing candidates: 16,384 of 20,000",
        "joining groups: near: 0 s so far",
    ):
        assert any(line.startswith(start) for line in lines), start
