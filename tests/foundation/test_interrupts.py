"""Signals that end a command: in order at the first, at once at the second, with the exit status of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

COMMAND = """
import signal, sys, time
from foundation.entry import entry

@entry("summary")
def main(config):
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("put in order", flush=True)
        if stubborn:
            time.sleep(60)

kind = sys.argv.pop(1)
stubborn = kind == "stubborn"
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # whoever runs the tests may ignore them, as nohup does
    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
if kind == "ignoring":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
main()
"""


def begun(tmp_path: Path, kind: str) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_puts_in_order(tmp_path, number):
    process = begun(tmp_path, "ready")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (128 + number, "put in order\n", "")


def test_the_second_signal_ends_at_once(tmp_path):
    process = begun(tmp_path, "stubborn")
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "put in order\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr is not None
    assert process.stderr.read() == ""
    for stream in (process.stdout, process.stderr):
        stream.close()


def test_a_signal_that_is_ignored_stays_ignored(tmp_path):
    process = begun(tmp_path, "ignoring")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
