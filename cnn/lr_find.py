"""`python -m cnn.lr_find model=...`: the learning-rate range test, its plot and a suggested rate. Saves no network."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from cnn.assembly import GROUPS, StartSettings, check_training, groups, ops_of, trainer_of
from cnn.reporting.rate_plot import plot_rates
from cnn.training.pack import load_pack
from cnn.training.progress import Progress
from cnn.training.rate_range import growing_rates, range_test
from cnn.training.warm_start import started_line
from data_tools.prepare import prepare
from foundation.entry import entry
from foundation.files import write_text


@dataclass
class LrFindSettings(StartSettings):
    """The options outside the groups."""

    lowest: float = 1e-6
    highest: float = 1.0
    steps: int = 200
    smoothing: float = 0.9
    plot: str = "lr_find.png"
    csv: str | None = None


@entry("lr_find", groups(*GROUPS, top=LrFindSettings))
def main(config: DictConfig) -> None:
    """Run the test, write its plot, and print the suggestion."""
    check_training(config)
    rates = growing_rates(config.lowest, config.highest, config.steps)
    ops = ops_of(config)
    pack = load_pack(prepare(config), ops)
    trainer = trainer_of(config, pack, ops, Path())
    if "start" in trainer.metadata:
        print(started_line(trainer.metadata["start"]))
    with Progress() as progress:
        found = range_test(trainer, pack.splits["train"], rates, progress, config.smoothing)
    plot_rates(found.rates, found.losses, found.smoothed, found.suggested, Path(config.plot))
    if config.csv is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["learning_rate", "loss", "smoothed_loss"])
        writer.writerows(zip(found.rates.tolist(), found.losses.tolist(), found.smoothed.tolist(), strict=True))
        write_text(Path(config.csv), text.getvalue())
    if len(found.rates) < len(rates):
        print(f"the loss diverged at a rate of {found.rates[-1]:.3g}, after {len(found.rates)} of {len(rates)} steps")
    elif found.lowest == rates[-1]:
        print(f"the loss still fell at the highest rate: try a higher one, such as highest={10 * config.highest:g}")
    print(f"lowest smoothed loss at a rate of {found.lowest:.3g}; a tenth of it is a rate to begin with:")
    print(f"optimizer.learning_rate={found.suggested:.2g}   (plot: {config.plot})")


if __name__ == "__main__":
    main()
