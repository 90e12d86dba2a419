"""`python -m cnn.train`: prepare the data if necessary, train, and score the best epoch once on the test split."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from cnn.assembly import (
    GROUPS,
    RunSettings,
    check_training,
    final_views_of,
    groups,
    to_container,
    trainer_of,
    trainer_settings,
)
from cnn.backends import Ops
from cnn.distributed.ranks import distribute
from cnn.distributed.start import first_before_others, rank_backend, world_of
from cnn.distributed.world import World, together, world
from cnn.loggers.loggers import Loggers
from cnn.loggers.settings import LoggerSettings
from cnn.models.precision import slowness
from cnn.models.summary import summary_rows
from cnn.reporting.baselines import logistic_regression, majority_guess
from cnn.reporting.metrics_csv import write_history
from cnn.reporting.provenance import collect_provenance
from cnn.reporting.run_files import ReportParts, write_run_files
from cnn.reporting.sweeps import ERROR, METRICS, PRUNED
from cnn.resume import record_length, resumed_config, run_arguments
from cnn.run_config import config_path
from cnn.run_profile import profile_run
from cnn.run_report import report_parts
from cnn.sweeping.trial import Pruned, Trial, write_pruned
from cnn.training.inference import loss_and_accuracy, predict_probabilities
from cnn.training.loop import Trainer
from cnn.training.pack import Pack, load_pack
from cnn.training.progress import Progress
from cnn.training.views import Matrix
from cnn.training.warm_start import started_line
from data_tools.prepare import prepare
from data_tools.progress import bar
from foundation.config import typed
from foundation.entry import entry
from foundation.errors import UserError
from foundation.files import read_json, remove_leftovers, write_json, write_text
from foundation.output import logged
from foundation.run_lock import run_locks, take

LOG = "train.log"  # in the run's folder: what is printed

details = logging.getLogger("cnn.train")  # shown with hydra.verbose=true
SCHEMAS = groups(*GROUPS, top=RunSettings) | {"logger": (LoggerSettings,)}


def main() -> None:
    """The command."""
    with run_locks():
        command()


@entry("config", SCHEMAS, run_arguments)
def command(config: DictConfig) -> float:
    """Train. Returns the validation accuracy, for a sweeper to optimise."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    here = world()
    if here.rank:
        return _beside_first(config, hydra.overrides.task, Path(here.told("")))
    if hydra.mode != RunMode.MULTIRUN:
        take(folder)
        remove_leftovers(folder)
        here.told(str(folder.absolute()))
        return _new_or_resumed(config, hydra.overrides.task, folder)
    if config.resume is None:
        for name in (METRICS, PRUNED):  # of another job: should this one fail, they are not its scores
            (folder / name).unlink(missing_ok=True)
    try:
        accuracy = _new_or_resumed(config, hydra.overrides.task, folder)
        (folder / ERROR).unlink(missing_ok=True)  # of an earlier attempt
        return accuracy
    except Exception:
        # A sweep continues after a failed job and Hydra shows only the first error, so each job keeps its own.
        write_text(folder / ERROR, traceback.format_exc())
        raise


def _beside_first(config: DictConfig, overrides: Sequence[str], folder: Path) -> float:
    """A process of another rank than 0: it trains with the first one, and prints and writes nothing."""
    with contextlib.redirect_stdout(io.StringIO()):
        return _new_or_resumed(config, overrides, folder)


def _new_or_resumed(config: DictConfig, overrides: Sequence[str], folder: Path) -> float:
    """Run what was composed, or with `resume` the recorded config with the typed overrides."""
    # The loggers are those of the person, whose run ever it is.
    loggers = Loggers.of(LoggerSettings() if world().rank else typed(config, "logger", LoggerSettings))
    if config.resume is None:
        return run(config, folder, loggers, overrides)
    return run(resumed_config(config, overrides), folder, loggers, overrides, Path(config.data.pack_dir).expanduser())


def run(
    config: DictConfig, folder: Path, loggers: Loggers, overrides: Sequence[str] = (), new_packs: Path | None = None
) -> float:
    """One training run with all its files in `folder`; returns the best validation accuracy.

    `overrides` are the typed options, for the report. A pack that is not there is written to `new_packs` (None: where
    the config says).
    """
    here = world_of(config)
    ops = rank_backend(config, here)
    check_training(config)
    precision = trainer_settings(config, ops).precision
    provenance = {**collect_provenance(), "backend": f"{ops.name}: {ops.device}", "precision": precision}
    with contextlib.nullcontext(lambda: None) if here.rank else logged(folder / LOG) as begin_log:
        return _run(config, folder, loggers, overrides, new_packs, here, ops, provenance, begin_log)


def _run(
    config: DictConfig,
    folder: Path,
    loggers: Loggers,
    overrides: Sequence[str],
    new_packs: Path | None,
    here: World,
    ops: Ops,
    provenance: dict[str, Any],
    begin_log: Callable[[], None],
) -> float:
    """The run from its data on; `begin_log` is called when nothing can be refused any more."""
    pack_folder, pack = _data(config, new_packs, here, ops, provenance)
    if config.resume is None and not here.rank and (record := config_path(folder)).is_file():
        # With what was found out about the data, and without references: it is read as plain values.
        write_text(record, OmegaConf.to_yaml(config, resolve=True))
    views = final_views_of(config).views(pack.image_shape[:2])
    trainer = trainer_of(config, pack, ops, folder)
    if here.communicator is not None:
        distribute(trainer, here)
    if config.resume is not None:
        trainer.resume()
        if not here.rank:
            record_length(folder, config)
    if here.rank:
        with Progress(lines=False, bar=False) as progress:
            trainer.fit(pack.splits["train"], pack.splits["validation"], progress)
        here.wait()  # for the files of the run
        return trainer.best.value
    begin_log()
    if config.resume is not None:
        write_history(folder / "metrics.csv", trainer.history)  # a kill may have come between checkpoint and history
        print(f"resumed after epoch {trainer.epoch}")
    elif "start" in trainer.metadata:
        print(started_line(trainer.metadata["start"]))
    details.debug("%s\nblocks of a training step:\n%s", trainer.model, trainer.model.plan)
    if trainer.settings.profile and config.resume is None and here.communicator is None:
        profile_run(config, folder, pack, trainer)
    trial = Trial.of_this_job()

    def on_epoch() -> None:
        write_history(folder / "metrics.csv", trainer.history)
        _write_convolutions(folder, ops)
        loggers.epoch(trainer.history[-1])
        if trial is not None:
            trial.report(trainer.history[-1])

    try:
        with loggers.following(folder, to_container(config), trainer.epoch, (KeyboardInterrupt, Pruned)):
            with Progress() as progress:
                trainer.fit(pack.splits["train"], pack.splits["validation"], progress, on_epoch)
            parts = report_parts(config, folder, pack_folder, pack, trainer, views, overrides)
            _finish(config, folder, pack, trainer, views, provenance, parts)
            loggers.end(folder)
    except Pruned:
        write_pruned(folder, trainer.epoch, trainer.best.value)
        print(f"stopped by the search after epoch {trainer.epoch}, validation accuracy {trainer.best.value:.4f}")
        return trainer.best.value
    except KeyboardInterrupt:
        if trainer.epoch:
            print(f"interrupted; python -m cnn.train resume={_shown(folder)} continues from the last complete epoch")
        raise
    _write_convolutions(folder, ops)
    here.wait()
    return trainer.best.value


def _data(
    config: DictConfig, new_packs: Path | None, here: World, ops: Ops, provenance: dict[str, Any]
) -> tuple[Path, Pack]:
    """The pack of the run and its folder; it is written if it is not there."""
    if (line := slowness(provenance["precision"], ops)) is not None:
        print(line)
    with first_before_others(here):
        pack_folder = prepare(config, new_packs)
        pack = load_pack(pack_folder, ops)
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in pack.splits.items())
    shown = pack.content_hash[:12], sizes, pack.image_shape, ops.name, ops.device, provenance["versions"]
    details.debug("pack %s, hash %s: %s images of %s; backend %s: %s; versions %s", pack_folder, *shown)
    return pack_folder, pack


def _write_convolutions(folder: Path, ops: Ops) -> None:
    """The algorithm of each convolution, with those that the run has used before it was resumed."""
    if (selector := getattr(ops, "selector", None)) is None:
        return
    path, rows = folder / "convolutions.json", selector.record()
    with contextlib.suppress(UserError, KeyError, TypeError):  # not there yet, or not ours
        rows += [row for row in read_json(path)["selected"] if isinstance(row, dict) and row not in rows]
    write_json(path, {"policy": selector.policy, "selected": sorted(rows, key=repr)})


def _finish(
    config: DictConfig,
    folder: Path,
    pack: Pack,
    trainer: Trainer,
    views: Sequence[Matrix | None],
    provenance: dict[str, Any],
    parts: ReportParts,
) -> None:
    """Score the best epoch once on the test split, the mean over `views`, and write the files of the run."""
    test, train, ops = pack.splits["test"], pack.splits["train"], trainer.model.ops
    size = trainer.settings.batch_size
    probabilities = predict_probabilities(trainer.model, test.images, trainer.batches, size, views=views)
    notes, augmented, tta = list(trainer.notes), {}, final_views_of(config).tta
    if tta != "none":
        assert parts.validation is not None
        augmented = {"tta": tta, "val_accuracy_tta": loss_and_accuracy(parts.validation[1], parts.validation[0])[1]}
        notes.append(
            f"Test scores are of the mean over {len(views)} views of each image (evaluate.tta={tta}), with which "
            f"validation accuracy is {augmented['val_accuracy_tta']:.4f}. The best epoch was selected without. "
            f"Thresholds and calibration are also of that mean: they hold for cnn.predict with tta={tta}."
        )
    baselines = {"majority guess": majority_guess(train.host_labels, test.host_labels)}
    test_images = ops.to_numpy(test.images)

    def slow_baselines() -> dict[str, float]:
        if len(train) > config.baselines.logistic_regression_up_to:
            return {}
        try:
            with bar(f"fitting a logistic regression to {len(train):,} images"):
                accuracy = logistic_regression(
                    ops.to_numpy(train.images), train.host_labels, test_images, test.host_labels
                )
        except Exception as error:  # a yardstick: whatever it needs and does not get, the run has its result
            print(f"no logistic regression to compare with: {type(error).__name__}: {error}")
            return {}
        baselines["logistic regression"] = accuracy
        return {"logistic regression": accuracy}

    scores = write_run_files(
        folder,
        images=test_images,
        labels=test.host_labels,
        probabilities=probabilities,
        classes=pack.classes,
        history=trainer.history,
        best_epoch=trainer.best.epoch,
        metrics={
            "model": trainer.model.name,
            "data": pack.name,
            "val_accuracy": trainer.best.value,
            "best_epoch": trainer.best.epoch,
            "epochs": trainer.epoch,
            "parameters": trainer.model.parameter_count,
            "seconds": sum(row["seconds"] for row in trainer.history),
            "images_per_second": harmonic_mean(row["images_per_second"] for row in trainer.history),
            "seed": config.seed,
            "precision": trainer.settings.precision,
            "pack_hash": pack.content_hash,
            **augmented,
        },
        baselines=baselines,
        summary_rows=summary_rows(trainer.model),
        configuration=OmegaConf.to_yaml(config, resolve=True),
        provenance=provenance,
        notes=notes,
        more_baselines=slow_baselines,
        parts=parts,
    )
    low, high = scores.accuracy_interval
    also = f"; {augmented['val_accuracy_tta']:.4f} with tta={tta}, as the test scores" if augmented else ""
    for name, accuracy in baselines.items():
        print(f"{name:<20} {accuracy:.4f}")
    print(
        f"{'validation accuracy':<20} {trainer.best.value:.4f} (epoch {trainer.best.epoch}{also})\n"
        f"{'test accuracy':<20} {scores.accuracy:.4f} (95 % interval {low:.4f} to {high:.4f}, {scores.images} images)\n"
        f"{'macro F1':<20} {scores.macro_f1:.4f} ({scores.macro_f1_of})\n"
        f"{'report':<20} {_shown(folder / 'report.html')}"
    )


def _shown(path: Path) -> str:
    """The path relative to the current folder, if possible."""
    return os.path.relpath(path)


if __name__ == "__main__":
    with together():
        main()
