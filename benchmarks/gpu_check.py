"""`python -m benchmarks.gpu_check`, or `make gpu-check`: what to do on a machine with a GPU, in one short turn.

Needs CuPy and pytest, and for the comparison PyTorch; no network and no Hydra. Each stage is a process with a part of
the time, and leaves its files as soon as it has something to say. A stage that fails or runs out of time does not stop
the next; what it has not used is left to the others.

stage        | files                       | what
compile      | (compile.md)                | all kernels, on all cores
conformance  | conformance.md              | the tests marked gpu, float32 and bfloat16
tiles        | tiles.md, tiles.json        | every tile of every product of the models
layers       | layers_*.md, layers_*.json  | every kernel beside the measured ceilings
training     | training.md, training.json  | images/s beside PyTorch eager and compiled
variants     | variants_<name>.md          | with --data and --variants: changes of an experiment, on validation
recipe       | recipe_<name>.md            | with --data: an experiment, several seeds
(all)        | summary.md                  | what became of each stage
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.turn import Turn, header
from cnn.backends import gpu_missing
from cnn.reporting.provenance import collect_provenance
from foundation.errors import UserError
from foundation.files import write_text

OUT = Path("docs/benchmarks/gpu")
MINUTES = 9.0
_GRACE = 5.0  # seconds after a stage's time, before its process is ended


@dataclass(frozen=True)
class Stage:
    """A module of `benchmarks.gpu`, and its part of the time."""

    name: str
    weight: float
    module: str


STAGES = (
    Stage("compile", 50, "compiling"),
    Stage("conformance", 120, "conformance"),
    Stage("tiles", 50, "tiles"),
    Stage("layers", 70, "layers"),
    Stage("training", 190, "training"),
)
TRAINED = (Stage("variants", 60, "variants"), Stage("recipe", 60, "recipe"))  # on a pack


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status is 1 if a stage failed."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    chosen = _parser().parse_args(given)
    if chosen.stage is not None:
        return _run_stage(chosen)
    if missing := gpu_missing():
        print(f"error: gpu-check ran nothing: {missing}", file=sys.stderr)
        return 1
    chosen.out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * chosen.minutes
    trained = () if chosen.data is None else TRAINED if chosen.variants is not None else TRAINED[1:]
    stages = [stage for stage in (*STAGES, *trained) if stage.name in chosen.stages]
    outcomes: list[tuple[str, str, float]] = []
    for number, stage in enumerate(stages):
        rest = sum(each.weight for each in stages[number:])
        seconds = (end - time.monotonic()) * stage.weight / rest
        begun = time.monotonic()
        outcome = _in_a_process(stage, given, seconds) if seconds > 1 else "left out for want of time"
        outcomes.append((stage.name, outcome, time.monotonic() - begun))
        print(f"{stage.name}: {outcome} ({outcomes[-1][2]:.0f} s)", flush=True)
        write_text(chosen.out / "summary.md", _summary(given, outcomes))
    return int(any(outcome.startswith("FAILED") for _, outcome, _ in outcomes))


def _in_a_process(stage: Stage, given: list[str], seconds: float) -> str:
    """Run the stage; what it says, or how it failed."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu_check",
        *given,
        "--stage",
        stage.name,
        "--seconds",
        f"{seconds:.0f}",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace", start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=seconds + _GRACE)
        except subprocess.TimeoutExpired:
            return "FAILED: ended when its time was over; its files have what it had found"
        except BaseException:
            _end(process)
            raise
        finally:
            _end(process)
    lines = printed.strip().splitlines()
    said = lines[-1] if lines else f"exit status {process.returncode}"
    return said if process.returncode == 0 else f"FAILED: {said}"


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and those that it started: they are one session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _run_stage(chosen: argparse.Namespace) -> int:
    """Run one stage here; its last line says what became of it."""
    (stage,) = [each for each in (*STAGES, *TRAINED) if each.name == chosen.stage]
    shown = " ".join(["python -m benchmarks.gpu_check", *_shown(sys.argv[1:])])
    turn = Turn(
        chosen.out,
        chosen.seconds,
        shown,
        quick=chosen.quick,
        data=chosen.data,
        recipe=chosen.recipe,
        seeds=tuple(chosen.seeds),
        tests=tuple(chosen.tests.split()),
        variants=chosen.variants,
        variant=chosen.variant,
    )
    try:
        print(importlib.import_module(f"benchmarks.gpu.{stage.module}").run(turn))
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        print(f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}")
        return 1
    return 0


def _shown(given: Sequence[str]) -> Iterator[str]:
    """The arguments without those of a single stage."""
    skip = 0
    for argument in given:
        skip = 2 if argument in ("--stage", "--seconds") else skip
        if skip:
            skip -= 1
        else:
            yield argument


def _summary(given: list[str], outcomes: list[tuple[str, str, float]]) -> str:
    command = " ".join(["python -m benchmarks.gpu_check", *given])
    facts = {"command": command, "provenance": collect_provenance()}
    rows = [f"| {name} | {outcome.replace('|', '/')} | {seconds:.0f} |" for name, outcome, seconds in outcomes]
    lines = [*header("gpu-check", facts), "| stage | outcome | seconds |", "| --- | --- | ---: |", *rows]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    names = [stage.name for stage in (*STAGES, *TRAINED)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=OUT, metavar="FOLDER", help=f"of the files ({OUT})")
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"for all stages ({MINUTES:g})")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="a pack; then its recipe is trained")
    parser.add_argument("--recipe", default=Turn.recipe, metavar="NAME", help=f"of conf/experiment ({Turn.recipe})")
    parser.add_argument(
        "--variants", type=Path, metavar="FILE", help="JSON: options that variants of the recipe change"
    )
    parser.add_argument("--variant", metavar="NAME", help="the one of them that the stage recipe trains")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="of the recipe's runs (0 1 2)")
    parser.add_argument("--stages", nargs="+", choices=names, default=names, metavar="STAGE", help="only these")
    parser.add_argument("--tests", default="", help="arguments of pytest, in place of its files")
    parser.add_argument("--quick", action="store_true", help="one small network: a rehearsal")
    parser.add_argument("--stage", choices=names, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
