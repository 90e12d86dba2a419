"""Stochastic depth (Huang et al. 2016)."""

from __future__ import annotations

from cnn.backends import DropPath as DropPathStage
from cnn.layers.dropout import RandomDrop


class DropPath(RandomDrop):
    """Zero a fraction `rate` of the examples in training and scale up the rest; do nothing otherwise.

    At the end of a residual branch it leaves out the branch: the block is then its shortcut alone.
    """

    drops = DropPathStage
