"""Fits the constants of the tile choice's estimate to times that `benchmarks.gpu.tiles` has measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from cnn.kernels.families.tensor_plan import TensorProduct
from cnn.kernels.tile_choice import BFLOAT16, TF32, Costs, Device

STARTS: Mapping[str, Costs] = {"bfloat16": BFLOAT16, "tf32": TF32}
_TRIALS = 3000
_NONE = Costs(0, 0, 0, 0)


@dataclass(frozen=True)
class Times:
    """All ways in which each product was computed, a row for each product; columns that it does not have are NaN.

    An estimate is linear in the constants: `fixed` + `factors` · constants.
    """

    seconds: NDArray[Any]  # (products, ways), those of adding the parts included
    fixed: NDArray[Any]  # (products, ways)
    factors: NDArray[Any]  # (products, ways, constants)
    steps: NDArray[Any]  # (steps, products): how often a step has a product

    @classmethod
    def of(cls, found: Mapping[str, Any], device: Device) -> Times:
        """Those of one precision in a `tiles.json`."""
        rows = [list(_ways(row, device)) for row in found["products"]]
        shape = len(rows), max(map(len, rows), default=0)
        times = cls(
            np.full(shape, np.nan),
            np.full(shape, np.nan),
            np.full((*shape, len(fields(Costs))), np.nan),
            np.zeros((len(found["steps"]), len(rows))),
        )
        for product, ways in enumerate(rows):
            for way, values in enumerate(ways):
                times.seconds[product, way], times.fixed[product, way], times.factors[product, way] = values
        for step, described in enumerate(found["steps"]):
            for product, calls in described["calls"]:
                times.steps[step, product] = calls
        return times

    def estimates(self, costs: Costs) -> NDArray[Any]:
        """In multiply-adds of one multiprocessor."""
        return np.asarray(self.fixed + self.factors @ np.array(astuple(costs)))

    def losses(self, costs: Costs) -> NDArray[Any]:
        """What each step's products take longer by the ways that these constants choose than by the fastest."""
        chosen = np.nanargmin(self.estimates(costs), axis=1)[:, None]
        taken = self.steps @ np.take_along_axis(self.seconds, chosen, axis=1)[:, 0]
        return np.asarray(taken / (self.steps @ np.nanmin(self.seconds, axis=1)) - 1)


def _ways(row: Mapping[str, Any], device: Device) -> Iterator[tuple[float, float, list[float]]]:
    """Seconds, and the estimate's fixed part and its factors, of each tile and number of parts that was timed."""
    asked = TensorProduct(**row["asked"])
    tiles = {tile.suffix: tile for tile in asked.candidates(device)}
    # In runs up to 2026-11-26 a launch of its own added the parts.
    measured = [(tile, row["splits"], taken, row.get("sum_seconds")) for tile, taken in row["seconds"].items()]
    measured += [
        (row["rule"], each["splits"], each["seconds"], each.get("sum_seconds")) for each in row.get("other_parts", ())
    ]
    for suffix, splits, taken, adding in measured:
        if suffix not in tiles:
            continue  # since the run the tile was removed

        def time(*costs: float, suffix: str = suffix, splits: int = splits) -> float:
            return asked.product.time(tiles[suffix], splits, Costs(*costs), device)

        fixed = time(*astuple(_NONE))
        yield taken + (adding or 0.0), fixed, [time(*row) - fixed for row in np.eye(len(fields(Costs))).tolist()]


def fit(times: Times, start: Costs) -> Costs:
    """The constants that fit the times best, beginning with `start`.

    Errors are relative; ways of computing a product that are nearly as fast as its fastest have the largest weights,
    because the choice is between them. Then a random search lowers what the choices of whole steps lose.
    """
    known = ~np.isnan(times.seconds)
    logs = np.log(times.seconds[known])
    weights = np.sqrt(np.nanmin(times.seconds, axis=1)[:, None] / times.seconds)[known]
    fixed, factors = times.fixed[known], times.factors[known]

    def residuals(parameters: NDArray[Any]) -> NDArray[Any]:
        *costs, unit = np.exp(parameters)  # unit: seconds of a multiply-add of one multiprocessor
        return np.asarray(weights * (np.log(unit * (fixed + factors @ np.array(costs))) - logs))

    unit = np.exp(np.median(logs - np.log(fixed + factors @ np.array(astuple(start)))))
    found = least_squares(residuals, np.log([*astuple(start), unit]), loss="soft_l1").x[:-1]
    # A constant of which the times say nothing keeps its value.
    used = np.any(factors > 0, axis=0)
    best = _rounded(np.where(used, found, np.log(astuple(start))))
    candidates = sorted([best, start], key=lambda costs: _mean(times, costs))
    best, least = candidates[0], _mean(times, candidates[0])
    random = np.random.default_rng(0)
    for _ in range(_TRIALS if least > 0 else 0):
        trial = _rounded(np.log(astuple(best)) + used * random.normal(0, 0.25, len(used)))
        if (mean := _mean(times, trial)) < least:
            best, least = trial, mean
    return best


def _mean(times: Times, costs: Costs) -> float:
    return float(times.losses(costs).mean())


def _rounded(logs: NDArray[Any]) -> Costs:
    """The constants of which these are the logarithms, to three digits."""
    return Costs(*(float(f"{value:.3g}") for value in np.exp(logs)))


def report(record: Mapping[str, Any]) -> str:
    """For each precision by tensor cores in a `tiles.json`: the constants that fit it, and what choices lose by them.

    The number of parts is chosen for `tile_choice.REFERENCE`, so the device should be one.
    """
    device, lines = Device(**record["limits"]), []
    for precision, start in STARTS.items():
        if not (found := record["precisions"].get(precision)):
            continue
        times = Times.of(found, device)
        costs = fit(times, start)
        lines += [f"{precision}: {costs}", *_losses(found["steps"], times, {"now": start, "fitted": costs})]
    return "\n".join(lines)


def _losses(steps: Sequence[Mapping[str, Any]], times: Times, by: Mapping[str, Costs]) -> Iterator[str]:
    found = {name: times.losses(costs) for name, costs in by.items()}
    for number, step in enumerate(steps):
        shown = ", ".join(f"{name} {losses[number]:.1%}" for name, losses in found.items())
        yield f"  {step['model']}, batch {step['batch']}: the choices lose {shown}"
    yield "  mean: " + ", ".join(f"{name} {losses.mean():.1%}" for name, losses in found.items())
