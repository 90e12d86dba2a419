"""The project's report of a trained network, for a notebook."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnn.api.pixels import as_bytes
from cnn.explaining import last_feature_map
from cnn.models import Model
from cnn.models.summary import summary_rows
from cnn.reporting.metrics import Scores, compute_scores
from cnn.reporting.provenance import collect_provenance
from foundation.files import write_text

_HEIGHT = 900  # pixels of the frame in a notebook


@dataclass(frozen=True)
class Report:
    """Scores of some examples, and a page about them, which is rendered when it is first shown or saved."""

    title: str
    split: str  # the name of the examples
    images: NDArray[Any]  # (n, h, w, c)
    labels: NDArray[np.int64]  # (n,)
    probabilities: NDArray[np.float64]  # (n, classes)
    classes: tuple[str, ...]
    class_count: NDArray[np.int64]  # of the training examples
    history: Sequence[Mapping[str, Any]]
    best_epoch: int
    model: Model
    options: str
    explain: Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[Any]] | None = (
        None  # as `reporting.examples` has it
    )

    @cached_property
    def scores(self) -> Scores:
        """Accuracy with its interval, macro F1, log loss, and the scores of each class."""
        return compute_scores(self.labels, self.probabilities, self.classes)

    @cached_property
    def html(self) -> str:
        """The page: one HTML document without further files."""
        # Imported here, so that Jinja is loaded only for a report that is shown.
        from cnn.reporting.calibration import Reliability  # noqa: PLC0415
        from cnn.reporting.classification_report import classification_text  # noqa: PLC0415
        from cnn.reporting.examples import examples, surest  # noqa: PLC0415
        from cnn.reporting.html_report import render_report  # noqa: PLC0415

        mistakes, hits = [], []
        if self.images.shape[1:3] != (1, 1):
            pixels = as_bytes(self.images)
            mistakes, hits = (
                examples(chosen, pixels, self.labels, self.probabilities, self.classes, self.explain)
                for chosen in surest(self.labels, self.probabilities)
            )
        return render_report(
            self.title,
            self.scores.as_dict(),
            summary_rows(self.model),
            self.history,
            classification_text(self.labels, self.probabilities, self.classes),
            self.options,
            {**collect_provenance(), "backend": f"{self.model.ops.name}: {self.model.ops.device}"},
            split=self.split,
            baselines=self._baselines(),
            best_epoch=self.best_epoch,
            mistakes=mistakes,
            hits=hits,
            node=(last_feature_map(self.model) or "") if self.explain is not None else "",
            reliability=Reliability.of(self.labels, self.probabilities),
        )

    def save(self, path: str | Path) -> None:
        """Write the page to a file."""
        write_text(Path(path), self.html)

    def _baselines(self) -> dict[str, float]:
        """The accuracy of always predicting the most frequent class of the training examples, if that is known."""
        if not self.class_count.any():
            return {}
        return {"majority guess": float((self.labels == self.class_count.argmax()).mean())}

    def _repr_html_(self) -> str:
        """The page in a frame, so that its style does not affect the notebook."""
        page = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{page}" style="width: 100%; height: {_HEIGHT}px; border: 0"></iframe>'

    def __repr__(self) -> str:
        """The overall scores in one line."""
        low, high = self.scores.accuracy_interval
        return (
            f"{self.title}: accuracy {self.scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}), "
            f"macro F1 {self.scores.macro_f1:.4f} ({self.scores.macro_f1_of}), log loss {self.scores.log_loss:.4f}, "
            f"{self.scores.images} {self.split} images"
        )
