"""Choices that look random and that every machine, and every order of the sources, repeats."""

from __future__ import annotations

import hashlib

import numpy as np


def generator_for(seed: int, *names: str | int) -> np.random.Generator:
    """A generator that depends on the seed and the names alone, not on what was drawn before."""
    return np.random.default_rng(int.from_bytes(digest(seed, *names)[:16], "big"))


def digest(seed: int, *names: str | int) -> bytes:
    """SHA-256 of a seed and names: an order that looks random and that every machine repeats."""
    return hashlib.sha256("\n".join(map(str, (seed, *names))).encode()).digest()
