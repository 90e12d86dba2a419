"""An installation that cannot be written to, without a home folder: the kernels are compiled for the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba")

PROGRAM = """
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []  # as if no folder could be written to
import numpy as np
from cnn.backends.cpu.jit import compiled, compiled_sums

@compiled
def doubled(x):
    return 2 * x

@compiled_sums
def total(x):
    sum = 0.0
    for each in x:
        sum += each
    return sum

print(doubled(21), total(np.arange(4.0)))
"""


def test_kernels_are_compiled_without_a_cache():
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42 6.0\n", "")
