"""The study of a search: Optuna's trials in a journal, which survives a kill at any time."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foundation.errors import UserError
from foundation.extras import needed

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import Trial

JOURNAL = "study.journal"  # in the folder of the sweep
_NAME = "search"
_SAMPLERS = ("tpe", "random")
_PRUNERS = ("median", "halving", "none")


@dataclass(frozen=True)
class SearchSettings:
    """The options `hydra.sweeper` of `hydra/sweeper=optuna`."""

    n_trials: int = 30
    n_jobs: int = 1
    sampler: str = "tpe"
    seed: int = 0
    pruner: str = "median"
    startup_trials: int = 5
    warmup_epochs: int = 2

    def __post_init__(self) -> None:
        for name, known in (("sampler", _SAMPLERS), ("pruner", _PRUNERS)):
            if (value := getattr(self, name)) not in known:
                raise UserError(f"hydra.sweeper.{name} is '{value}'; choose {', '.join(known)}")
        for name, least in (("n_trials", 1), ("n_jobs", 1), ("seed", 0), ("startup_trials", 0), ("warmup_epochs", 0)):
            if (value := getattr(self, name)) < least:
                raise UserError(f"hydra.sweeper.{name} must be at least {least}, not {value}")


def open_study(folder: Path, settings: SearchSettings, search: Mapping[str, Any]) -> Study:
    """The study in `folder`, made if there is none.

    `search` describes what is searched, in types of JSON. Raises `UserError` if Optuna is missing, or if the folder has
    a search over something else.
    """
    optuna = optuna_of()
    path = folder / JOURNAL
    folder.mkdir(parents=True, exist_ok=True)
    _drop_half_line(path)
    study = optuna.create_study(
        study_name=_NAME, storage=_storage(path), direction="maximize", load_if_exists=True, pruner=pruner_of(settings)
    )
    recorded = study.user_attrs.get("search")
    if recorded is None:
        study.set_user_attr("search", dict(search))
    elif recorded != dict(search):
        changed = sorted(key for key in {*recorded, *search} if recorded.get(key) != search.get(key))
        raise UserError(
            f"{folder} has a search with other options ({', '.join(changed)}): its trials could not be compared with "
            "new ones; choose another hydra.sweep.dir"
        )
    # For the jobs, which stop themselves.
    study.set_user_attr("settings", asdict(settings))
    return study


def load_trial(journal: Path, number: int) -> Trial:
    """A trial of the study of a journal, for reporting to it; its study has the pruner."""
    optuna = optuna_of()
    study = optuna.load_study(study_name=_NAME, storage=_storage(journal), sampler=optuna.samplers.RandomSampler())
    study.pruner = pruner_of(SearchSettings(**study.user_attrs["settings"]))
    return optuna.trial.Trial(study, study.trials[number]._trial_id)


def sampler_of(settings: SearchSettings, number: int) -> BaseSampler:
    """The sampler for the trial of that number.

    Each trial has one of its own, seeded by its number: so a search that goes on after a kill suggests what it would
    have suggested without, and never again what it began with. TPE: Bergstra et al. 2011.
    """
    samplers = optuna_of().samplers
    seed = (settings.seed * 1_000_003 + number) % 2**32
    if settings.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, n_startup_trials=max(settings.startup_trials, 1))


def pruner_of(settings: SearchSettings) -> BasePruner:
    """The rule by which trials are stopped. Halving: Li et al. 2020, asynchronous successive halving."""
    pruners = optuna_of().pruners
    if settings.pruner == "median":
        return pruners.MedianPruner(settings.startup_trials, settings.warmup_epochs)
    if settings.pruner == "halving":
        return pruners.SuccessiveHalvingPruner(min_resource=max(settings.warmup_epochs, 1))
    return pruners.NopPruner()


def _storage(path: Path) -> Any:
    from optuna.storages import JournalStorage  # noqa: PLC0415
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock  # noqa: PLC0415

    # Optuna's usual lock is a symbolic link, for which Windows wants special rights.
    lock = JournalFileOpenLock(str(path)) if os.name == "nt" else None
    return JournalStorage(JournalFileBackend(str(path), lock))


def optuna_of() -> Any:
    """Optuna, which no longer prints every trial. Raises `UserError` if it is not installed."""
    optuna = needed("optuna", "hydra/sweeper=optuna", "search")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _drop_half_line(path: Path) -> None:
    """Remove an incomplete last line, left by a full disk or a crash of the machine: more would be added to it."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
