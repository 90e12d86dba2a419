"""Pseudo-random choices that are the same on every machine and for every order of the sources."""

from __future__ import annotations

import hashlib

import numpy as np


def generator_for(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends only on the seed and the names, not on earlier draws."""
    return np.random.default_rng(int.from_bytes(digest(seed, *names)[:16], "big"))


def digest(seed: int, *names: str | int) -> bytes:
    """SHA-256 of a seed and names, to sort by in a pseudo-random order."""
    return hashlib.sha256("\n".join(map(str, (seed, *names))).encode()).digest()
