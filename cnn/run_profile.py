"""`trainer.profile=true`: the time of each part of a training step, as a table, `profile.csv` and `profile.png`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table
from rich.text import Text

from cnn.assembly import optimizer_settings
from cnn.training.loop import Trainer
from cnn.training.optimizers import build_optimizer
from cnn.training.pack import Pack
from cnn.training.profile import profile_step
from foundation.screen import screen


def profile_run(config: DictConfig, folder: Path, pack: Pack, trainer: Trainer) -> None:
    """Measure a step on a copy of the network, which changes nothing of the run; print it and write both files."""
    from cnn.reporting.profile_files import write_profile  # noqa: PLC0415 - only for a run that asks

    settings, ops, chosen = trainer.settings, trainer.model.ops, optimizer_settings(config)
    found = profile_step(
        trainer.model,
        lambda model: build_optimizer(chosen, model, settings.clip_norm),
        trainer.loss,
        trainer.batches,
        pack.splits["train"],
        settings.batch_size,
    )
    rows = [(part.name, part.forward, part.backward) for part in found.parts]
    write_profile(folder, rows, found.step, found.images, f"{ops.name}: {ops.device}")
    total = sum(part.seconds for part in found.parts)
    table = Table("part", title="a training step, part by part", title_justify="left")
    for name in ("forward ms", "backward ms", "of all"):
        table.add_column(name, justify="right")
    for part in found.parts:
        cells = ("" if each is None else f"{1000 * each:.2f}" for each in (part.forward, part.backward))
        table.add_row(Text(part.name), *cells, f"{part.seconds / total:.0%}")
    screen().print(table)
    print(f"a step of {found.images} images: {1000 * found.step:.2f} ms; its parts, one by one: {1000 * total:.2f} ms")
