"""The small data set and the quick run that the tests of the commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
COUNTS = {"train": 12, "validation": 4, "test": 4}


@dataclass
class Outcome:
    """What a command left behind: its exit status and what it printed."""

    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line that a failed command may print on stderr."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert self.status == 2, f"exit status {self.status}, stderr: {self.err}"
        assert len(lines) == 1, f"expected one line, got: {self.err}"
        assert lines[0].startswith("error: ")
        assert "Traceback" not in self.err
        return lines[0].removeprefix("error: ")


def write_faces(root: Path, counts: dict[str, int] | None = None, size: int = 12) -> None:
    """Class folders of `size` x `size` grey PNGs: each class has bright rows of its own, under noise."""
    rng = np.random.default_rng(7)
    for split, count in (counts or COUNTS).items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = rng.integers(0, 90, (size, size))
                pixels[label : label + 3] += 150
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02d}.png")


# A run on the small data set that takes about a second. Of noise, every image resembles every other: the search for
# duplicates beyond equal pixels would take ten times as long as all the rest.
QUICK = (
    "data=fer2013",
    "data.image_size=12",
    "data.audit=pixels",
    "merge.duplicates=pixels",
    "model=lenet",
    "model.widths=[4,8]",
    "model.dense_widths=[16,16]",
    "backend=cpu",
    "augment=none",
    "trainer.epochs=3",
    "trainer.batch_size=16",
    "optimizer.learning_rate=0.01",
)
