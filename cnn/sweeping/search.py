"""A search: Optuna suggests the options of each trial by the scores of those before it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Override

from cnn.reporting import search_plot
from cnn.reporting.sweeps import METRICS, PRUNED, options_of
from cnn.sweeping.jobs import Job
from cnn.sweeping.space import space_of, text_of
from cnn.sweeping.study import JOURNAL, SearchSettings, open_study, optuna_of, sampler_of
from cnn.sweeping.sweep import Sweep, error_of
from cnn.sweeping.trial import override_for
from foundation.errors import UserError
from foundation.files import read_json

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import Trial

_HOPELESS = 3  # trials at the beginning that all fail


def run_search(sweep: Sweep, overrides: Sequence[Override], settings: SearchSettings) -> None:
    """Run trials until there are `settings.n_trials`, those of an earlier, interrupted call included.

    A trial's value is the validation accuracy of its best epoch. A trial that an earlier call has left unfinished goes
    on: with its options, in its folder, from its checkpoint. Raises the error of the last trial if none succeeds.
    """
    optuna_of()
    space, shared = space_of(overrides)
    search = {"options": options_of(shared), "space": {key: _described(each) for key, each in space.items()}}
    with sweep.opened():
        study = open_study(sweep.folder, settings, search | {"sampler": settings.sampler, "seed": settings.seed})
        _greet(study, settings)
        try:
            while batch := _next(study, settings, space):
                _run(sweep, study, batch, space, shared)
        finally:
            search_plot.plot_search(_history(study), sweep.folder / "search.png")
        _conclude(study)


def _next(study: Study, settings: SearchSettings, space: Mapping[str, BaseDistribution]) -> dict[int, Trial]:
    """The trials to run next, by number: those left unfinished, then new ones."""
    from optuna.trial import Trial, TrialState  # noqa: PLC0415

    batch: dict[int, Trial] = {}
    trials = study.trials
    for frozen in trials:
        if frozen.state in (TrialState.RUNNING, TrialState.WAITING) and len(batch) < settings.n_jobs:
            study.sampler = sampler_of(settings, frozen.number)
            batch[frozen.number] = Trial(study, frozen._trial_id)
            _suggest(batch[frozen.number], space)
    for number in range(len(trials), settings.n_trials):
        if len(batch) >= settings.n_jobs:
            break
        study.sampler = sampler_of(settings, number)
        trial = study.ask()
        _suggest(trial, space)
        batch[trial.number] = trial
    return batch


def _suggest(trial: Trial, space: Mapping[str, BaseDistribution]) -> None:
    """Set the trial's options; those that it has already stay."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    for key, distribution in space.items():
        if isinstance(distribution, CategoricalDistribution):
            trial.suggest_categorical(key, distribution.choices)
        elif isinstance(distribution, IntDistribution):
            trial.suggest_int(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
        elif isinstance(distribution, FloatDistribution):
            trial.suggest_float(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def _run(sweep: Sweep, study: Study, batch: Mapping[int, Trial], space: Iterable[str], shared: Sequence[str]) -> None:
    """Run the trials, and tell the study what came of them."""
    jobs: dict[int, Job] = {}
    for number, trial in batch.items():
        # By the names of the space: the journal may be from a stranger, and these become arguments.
        chosen = [f"{key}={text_of(trial.params[key])}" for key in space]
        jobs[number] = sweep.place([*shared, *chosen], number, exact=True)
    for number in [number for number, trial in batch.items() if not jobs[number].done and _known(study, trial)]:
        del jobs[number]
    left = {number: job for number, job in jobs.items() if not job.done}
    journal = sweep.folder.resolve() / JOURNAL
    results = sweep.launch([*left.values()], [[override_for(journal, number)] for number in left])
    errors = {number: error_of(result) for number, result in zip(left, results, strict=True)}
    for number, job in jobs.items():
        _tell(study, batch[number], job, errors.get(number))
    ended = [trial for trial in study.trials if trial.state.is_finished()]
    if len(ended) >= _HOPELESS and all(trial.state.name == "FAIL" for trial in ended):
        last = next((error for error in reversed(errors.values()) if error is not None), None)
        raise last or UserError(f"the first {len(ended)} trials have all failed: see error.txt in their folders")


def _known(study: Study, trial: Trial) -> bool:
    """Whether an earlier trial had the same options: a run repeats exactly, so its result stands for this one too."""
    for other in study.trials[: trial.number]:
        if other.state.name == "COMPLETE" and other.params == trial.params:
            study.tell(trial, other.value)
            print(f"trial {trial.number} has the options of trial {other.number}, and so its result")
            return True
    return False


def _tell(study: Study, trial: Trial, job: Job, error: Exception | None) -> None:
    from optuna.trial import TrialState  # noqa: PLC0415

    if (job.folder / METRICS).is_file():
        study.tell(trial, float(read_json(job.folder / METRICS)["val_accuracy"]))
    elif (job.folder / PRUNED).is_file():
        study.tell(trial, state=TrialState.PRUNED)  # its value is that of its last epoch
    else:
        study.tell(trial, state=TrialState.FAIL)
        reason = " ".join(str(error).split()) if error is not None else "it left no score"
        print(f"trial {trial.number} failed: {reason}")


def _described(distribution: BaseDistribution) -> str:
    from optuna.distributions import distribution_to_json  # noqa: PLC0415

    return json.dumps(json.loads(distribution_to_json(distribution)), sort_keys=True)


def _greet(study: Study, settings: SearchSettings) -> None:
    if ended := sum(trial.state.is_finished() for trial in study.trials):
        print(f"{ended} of {settings.n_trials} trials are done already")


def _history(study: Study) -> list[dict[str, Any]]:
    """Number, state, value and options of each trial that has ended, for the plot."""
    return [
        {"number": trial.number, "state": trial.state.name.lower(), "value": trial.value, "options": trial.params,
         "log": [key for key, each in trial.distributions.items() if getattr(each, "log", False)]}
        for trial in study.trials
        if trial.state.is_finished()
    ]  # fmt: skip


def _conclude(study: Study) -> None:
    states = [trial.state.name for trial in study.trials]
    counts = {"finished": "COMPLETE", "stopped early": "PRUNED", "failed": "FAIL"}
    told = ", ".join(f"{states.count(state)} {word}" for word, state in counts.items() if states.count(state))
    print(f"{len(states)} trials: {told}")
    if "COMPLETE" not in states:
        return
    best = study.best_trial
    chosen = " ".join(f"{key}={text_of(value)}" for key, value in best.params.items())
    print(f"best: trial {best.number}, validation accuracy {best.value:.4f}, with {chosen}")
