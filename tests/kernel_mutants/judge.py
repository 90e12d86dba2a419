"""Runs the tests on mutants, and tells what became of each.

The tests are collected once, by pytest in this process; a mutant is judged in a fork of it, whose kernels lie in
another folder. So a mutant costs its compilation and the tests up to the first that fails.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from backends import cases
from kernel_mutants.mutant import Mutant, MutantError, sources_with, write_kernels
from kernel_mutants.selection import sources_of_calls, sources_of_test
from kernel_mutants.stages import FILES, STAGES, TESTS, call_of, stage_of

KERNELS_VARIABLE = "CNN_TEST_KERNELS"  # where the emulated backends read their kernels; see backends/emulated.py
_MOST_SECONDS = 600  # of all of a mutant's tests; an endless loop ends by the emulator's own limit, long before
_LONGEST_MESSAGE = 160

# The kinds of mutants whose threads get out of step: for them every stage is asked, not only the first that notices.
OUT_OF_STEP = ("barrier", "mask", "race")


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant. `test` and what follows is of the first test that failed; empty if none did."""

    killed: bool
    seconds: float
    test: str = ""
    stage: str = ""
    message: str = ""
    tests: Mapping[str, int] = field(default_factory=dict)  # how many looked at the file, by stage
    noticed_by: tuple[str, ...] = ()  # of a mutant out of step: every stage that notices it alone


def in_court(folder: Path, sources: set[str], business: Callable[[Court], None]) -> None:
    """Collect the tests that look at these `.cu` files, then call `business` with a court that judges by them.

    `folder` is for the mutated kernels. Use one folder for many mutants: then the emulator's cache knows the files that
    a mutant leaves alone. Raises `MutantError` if pytest does not come so far, and what `business` raises.
    """
    os.environ[KERNELS_VARIABLE] = str(folder)
    launched = sources_of_calls()
    # The list is cut before a test module reads it: collecting thousands of tests takes seconds.
    cases.CALLS[:] = [call for call in cases.CALLS if sources & launched[call.id]]
    court = Court(folder, launched, business)
    files = [str(TESTS / file) for file in FILES]
    try:
        code = pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *files], plugins=[court])
    finally:
        del os.environ[KERNELS_VARIABLE]
    if court.error:
        raise court.error
    if not court.done:
        raise MutantError(f"pytest cannot collect the tests: {code!r}")


class Court:
    """A pytest plugin that runs the chosen tests once for each mutant, instead of all of them once."""

    def __init__(self, folder: Path, launched: Mapping[str, set[str]], business: Callable[[Court], None]) -> None:
        self.folder, self._launched, self._business = folder, launched, business
        self.done, self.error = False, None  # type: bool, BaseException | None
        self._items: list[tuple[str, pytest.Item, set[str]]] = []  # stage, test, the .cu files that it looks at

    def judge(self, mutant: Mutant) -> Verdict:
        """Run the tests that look at the mutant's file until one fails. Raises `MutantError`."""
        write_kernels(self.folder, mutant)
        sources = sources_with(mutant.file)
        verdict = self._run(sources, mutant.id)
        if "g++ failed" in verdict.message:
            raise MutantError(f"{mutant.id}: does not compile\n{verdict.message}")
        if mutant.kind in OUT_OF_STEP:
            stages = [stage for stage, count in verdict.tests.items() if count]
            noticed = tuple(stage for stage in stages if self._run(sources, mutant.id, stage).killed)
            verdict = dataclasses.replace(verdict, noticed_by=noticed)
        return verdict

    def unchanged(self, sources: set[str]) -> Verdict:
        """The tests that look at any of these files, on the kernels as they are."""
        write_kernels(self.folder, None)
        return self._run(sources, "the kernels as they are")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keeps the tests that launch emulated kernels, by stage."""
        for item in items:
            stage, call = stage_of(item), call_of(item)
            sources = self._launched[call.id] if call else sources_of_test(item)
            if stage and sources:
                self._items.append((stage, item, sources))
        self._items.sort(key=lambda entry: STAGES.index(entry[0]))
        items[:] = [item for _, item, _ in self._items]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """The business, in place of the tests."""
        if session.testsfailed:
            return True
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            try:
                self._business(self)
            except BaseException as error:
                self.error = error
        self.done = True
        return True

    def _run(self, sources: set[str], name: str, only: str = "") -> Verdict:
        """The verdict of the tests that look at any of these files; of those in one stage, if it is named."""
        chosen = [(stage, item) for stage, item, files in self._items if files & sources and only in ("", stage)]
        if not chosen:
            raise MutantError(f"{name}: no test looks at {', '.join(sorted(sources))}")
        counts = {stage: sum(each == stage for each, _ in chosen) for stage in STAGES}
        started = time.monotonic()
        status, answer = _in_fork(lambda: _first_failure(chosen))
        seconds = time.monotonic() - started
        if status == "late":
            raise MutantError(f"{name}: the tests did not end within {_MOST_SECONDS} seconds")
        if status != "ended":  # a stray write can end the whole process, which is noticed too
            return Verdict(True, seconds, message=f"ended by {status}", tests=counts)
        if "trouble" in answer:
            raise MutantError(f"{name}: {answer['trouble']}")
        if not answer:
            return Verdict(False, seconds, tests=counts)
        test = answer["test"].removeprefix("tests/").removeprefix("backends/")
        message = answer["message"] if "g++ failed" in answer["message"] else _short(answer["message"])
        return Verdict(True, seconds, test, answer["stage"], message, counts)


def _first_failure(chosen: list[tuple[str, pytest.Item]]) -> dict[str, Any]:
    """Run tests until one fails; what it said, or nothing."""
    watch, plugins = _Watch(), chosen[0][1].config.pluginmanager
    plugins.register(watch)
    plugins.unregister(name="terminalreporter")  # its dots
    following = [item for _, item in chosen[1:]] + [None]
    for (stage, item), following_item in zip(chosen, following, strict=True):
        item.ihook.pytest_runtest_protocol(item=item, nextitem=following_item)
        if watch.failed:
            return {"stage": stage} | watch.failed
    return {}


class _Watch:
    """Keeps the first failure."""

    def __init__(self) -> None:
        self.failed: dict[str, Any] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.failed = {"test": report.nodeid, "message": crash.message if crash else report.longreprtext}


def _in_fork(work: Callable[[], dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """`work` in a copy of this process: "ended" and what it returned, "late", or the signal that ended it."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receiving)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        try:
            answer = work()
        except BaseException:
            answer = {"trouble": traceback.format_exc()}
        with os.fdopen(sending, "w") as pipe:
            pipe.write(json.dumps(answer))
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe, _alarm(child) as late:
        text = pipe.read()  # until the child ends
        _, status = os.waitpid(child, 0)
    if late:
        return "late", {}
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}", {}
    if not text:
        return f"exit code {os.WEXITSTATUS(status)}", {}
    return "ended", json.loads(text)


@contextlib.contextmanager
def _alarm(child: int) -> Iterator[list[bool]]:
    """Kills the child after the time limit, and says so in the list."""
    late: list[bool] = []

    def ring(*_: Any) -> None:
        late.append(True)
        os.kill(child, signal.SIGKILL)

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(_MOST_SECONDS)
    try:
        yield late
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _short(message: str) -> str:
    """A failure's message in one line."""
    if "EmulatorError: " in message:
        text = message.partition("EmulatorError: ")[2].partition("\n")[0]
    elif "Mismatched elements" in message:
        text = message[message.index("Mismatched elements") :].split("\n", maxsplit=1)[0]
    else:
        text = message
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
