"""`python -m cnn.summary model=...`: a model as a table of layers, output shapes, parameters and MFLOPs."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig

from cnn.assembly import groups, model_of, ops_of
from cnn.models.summary import summary_line, summary_table
from data_tools.detection import fill_in
from foundation.entry import entry
from foundation.screen import screen


@dataclass
class SummarySettings:
    """The options outside the groups."""

    seed: int = 0


@entry("summary", groups("data", "merge", "backend", top=SummarySettings))
def main(config: DictConfig) -> None:
    """Print the table."""
    fill_in(config)
    model = model_of(config, ops_of(config))
    screen().print(summary_table(model))
    print(summary_line(model))


if __name__ == "__main__":
    main()
