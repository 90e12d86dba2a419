"""The search space that the overrides of a command line describe, as Optuna's distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from foundation.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_NOT_SEARCHED = {"seed": "the luckiest seed is no better recipe; run the chosen configuration with seed=0,1,2"}


def space_of(overrides: Sequence[Override]) -> tuple[dict[str, BaseDistribution], list[str]]:
    """The distribution of each option that is searched, and the overrides that all trials share.

    Raises `UserError` for a space without options, an interval that is empty, and a logarithm of what is not positive.
    """
    space: dict[str, BaseDistribution] = {}
    shared: list[str] = []
    for override in overrides:
        key = override.get_key_element()
        if not override.is_sweep_override():
            shared.append(fixed(override))
            continue
        if reason := _NOT_SEARCHED.get(key.lstrip("+")):
            raise UserError(f"{override.input_line}: {reason}")
        try:
            space[key] = _distribution(override)
        except ValueError as error:
            raise UserError(f"{override.input_line} is no search space: {error}") from error
    if not space:
        raise UserError(
            "hydra/sweeper=optuna needs an option to search over, such as "
            "'optimizer.learning_rate=tag(log, interval(1e-4, 1e-2))' or model=lenet,resnet9"
        )
    return space, shared


def fixed(override: Override) -> str:
    """An override that is the same in all jobs, as text."""
    key = override.get_key_element()
    return key if override.is_delete() else f"{key}={override.get_value_element_as_str()}"


def _distribution(override: Override) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: PLC0415

    value: Any = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low or 0.0), float(high or 0.0), log=log)
    if isinstance(value, RangeSweep) and len(members := list(override.sweep_string_iterator())) > 1:
        numbers = [float(member) for member in members]
        low, high = min(numbers), max(numbers)  # the stop of a range is not in it, and it may be shuffled
        step = abs(value.step)
        if all(isinstance(each, int) for each in (value.start, value.stop, value.step)):
            return IntDistribution(int(low), int(high), log=log, step=1 if log else int(step))
        return FloatDistribution(low, high, log=log, step=None if log else _step(low, high, step))
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def _step(low: float, high: float, step: float) -> float:
    """The step with which `high` is reached exactly, in spite of rounding."""
    return (high - low) / max(1, round((high - low) / step))


def text_of(value: Any) -> str:
    """A suggested value as an override has it. Every digit, because the trial is known by it."""
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return str(value)
