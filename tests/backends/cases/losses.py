"""Losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from backends.cases.call import Call, Exactly, Filled, given


@dataclass(frozen=True)
class LossCase:
    name: str
    n: int
    classes: int
    smoothing: float = 0.0
    largest_logit: float = 3.0
    ignored: int | None = None  # the label of every third row
    masked: int = 0  # classes from the second on whose logit is -inf, and that are no row's label
    counts: bool = False  # whether the totals are kept
    ties: bool = False

    def logits(self, rng):
        logits = rng.uniform(-self.largest_logit, self.largest_logit, (self.n, self.classes))
        logits = np.sign(logits) if self.ties else logits
        logits[:, 1 : 1 + self.masked] = -np.inf
        return logits

    def labels(self, rng):
        labels = rng.integers(self.classes - self.masked, size=self.n)
        labels += self.masked * (labels > 0)
        if self.ignored is not None:
            labels[::3] = self.ignored
        return labels

    def targets(self, rng):
        """Any non-negative numbers, some of them 0: soft targets, of which not every row need sum to one."""
        targets = rng.uniform(0, 1, (self.n, self.classes)) * (rng.random((self.n, self.classes)) < 0.8)
        targets[:, 1 : 1 + self.masked] = 0
        return Exactly(targets.astype(np.float32))

    def soft_cross_entropy(self, rng):
        options = {"smoothing": self.smoothing}
        if self.counts:
            options["totals"] = Filled(Exactly(np.array([1.5, 2.0, 40.0])))
        return given(self.logits(rng), self.targets(rng), rng.uniform(0.2, 3, self.classes), **options)

    def cross_entropy(self, rng):
        options = {"smoothing": self.smoothing, "ignore_index": self.ignored}
        if self.counts:
            options["totals"] = Filled(Exactly(np.array([1.5, 2.0, 40.0])))
        return given(self.logits(rng), self.labels(rng), rng.uniform(0.2, 3, self.classes), **options)


LOSSES = [
    LossCase("small", 5, 7),
    LossCase("smoothed", 5, 7, smoothing=0.1, counts=True),
    LossCase("two_classes_batch_1", 1, 2, smoothing=0.3),
    LossCase("one_class", 3, 1, counts=True),
    LossCase("batch_19_33_classes", 19, 33, counts=True),
    LossCase("batch_300_70_classes", 300, 70, smoothing=0.2, counts=True),
    LossCase("large_logits", 6, 4, largest_logit=60),
    LossCase("some_ignored", 8, 5, ignored=-1, counts=True),
    LossCase("some_ignored_beyond_the_classes", 70, 5, smoothing=0.1, ignored=255, counts=True),
    LossCase("a_class_ignored", 9, 4, ignored=2, counts=True),
    LossCase("the_only_row_ignored", 1, 6, ignored=-100, counts=True),
    LossCase("masked", 6, 7, masked=3, counts=True),
    LossCase("masked_smoothed", 6, 7, smoothing=0.2, masked=2, counts=True),
    LossCase("ties", 40, 5, counts=True, ties=True),
    LossCase("ties_of_70_classes", 9, 70, counts=True, ties=True),
]


def loss_calls() -> Iterator[Call]:
    for c in LOSSES:
        yield Call("softmax", c.name, lambda rng, c=c: given(c.logits(rng)))
        yield Call("cross_entropy", c.name, c.cross_entropy)
        yield Call("soft_cross_entropy", c.name, c.soft_cross_entropy)
