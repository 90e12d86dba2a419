"""One side of the comparison in a separate process: builds a network, then serves requests.

`python -m benchmarks.cpu.worker SIDE CELL` reads requests as lines of JSON from its input and answers each with a line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import Any

from threadpoolctl import threadpool_info

from benchmarks.cpu import memory
from benchmarks.cpu.cells import Cell
from benchmarks.models import without_dropout
from benchmarks.torch_comparison import differences
from benchmarks.torch_reference import LAYOUTS, TorchReference
from benchmarks.workload import Workload, standardized
from cnn.backends import get_ops
from cnn.models import InferenceModel

OURS, CHECK = "ours", "check"
LOSS, UPDATE, REST = "loss", "update", "rest"  # rows of a breakdown that are not layers
BESIDE = " + "  # between the names of layers that are computed in one pass

Breakdown = dict[str, list[float]]  # seconds of the forward and of the backward pass, by layer or block


class Ours:
    """Our network on the CPU engine."""

    def __init__(self, cell: Cell, train: bool) -> None:
        model = cell.build(get_ops("cpu", cell.threads))
        self.work = Workload(cell.options(), model, *cell.data(), cell.batch)
        self.images = None if train else self.work.network_input(cell.data()[0])
        # As in a finished run, inference frees the network from which it was built.
        self.network = None if train else InferenceModel(model)
        if not train:
            del self.work

    def train(self) -> None:
        """The loop's training step: gather, forward, loss, backward, update."""
        self.work()

    def infer(self) -> None:
        """Logits of the batch in inference."""
        assert self.network is not None
        self.network.forward(self.images)

    def layers(self) -> Breakdown:
        """A training step in parts: the times of each block's forward and backward pass, the loss and the update."""
        step, executor = self.work.step, self.work.model._training
        names = [node.name for node in executor.plan.graph.nodes]

        def block_of(ready: Any, *_: Any) -> str:
            return BESIDE.join(names[index] for index in ready.block.nodes())

        found: Breakdown = {}
        watched: list[tuple[Any, str, Callable[..., str], int]] = [
            (executor, "block_forward", block_of, 0),
            (executor, "block_backward", block_of, 1),
            (step, "loss", lambda *_: LOSS, 0),
            (step.optimizer, "step", lambda *_: UPDATE, 1),
        ]
        kept = [vars(owner).get(attribute) for owner, attribute, _, _ in watched]
        for owner, attribute, name_of, column in watched:
            setattr(owner, attribute, _clocked(getattr(owner, attribute), found, name_of, column))
        begin = time.perf_counter()
        try:
            self.work()
        finally:
            whole = time.perf_counter() - begin
            for (owner, attribute, _, _), value in zip(watched, kept, strict=True):
                if value is None:
                    delattr(owner, attribute)
                else:
                    setattr(owner, attribute, value)
        return found | {REST: [0.0, whole - sum(map(sum, found.values()))]}


class Theirs:
    """PyTorch's network in one memory format."""

    def __init__(self, cell: Cell, train: bool, layout: str) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.functional = self.torch.nn.functional
        if cell.batch == 1:
            # PyTorch refuses to train a batch norm of vectors on one image, although its kernels can, like ours.
            self.functional._verify_batch_size = lambda size: None
        model = cell.build(get_ops("cpu", cell.threads))
        images, labels = cell.data()
        self.reference = TorchReference(model, "cpu", layout)
        self.reference.module.train(train)
        self.optimizer: Any = None
        if train:
            self.optimizer, _ = self.reference.optimizer(cell.options().optimizer)
        self.images = self.reference.images(standardized(images))
        self.labels = self.reference.labels(labels)

    def train(self) -> None:
        """Forward, loss, backward, update."""
        self.optimizer.zero_grad(set_to_none=True)
        self.functional.cross_entropy(self.reference.module(self.images), self.labels).backward()
        self.optimizer.step()

    def infer(self) -> None:
        """Logits of the batch."""
        with self.torch.inference_mode():
            self.reference.module(self.images)

    def layers(self) -> Breakdown:
        """A training step in parts.

        Hooks time each module's forward pass. The backward time of a layer begins when the gradient of its output is
        ready and ends when the gradient of the previous output is.
        """
        found: Breakdown = {LOSS: [0.0, 0.0], **{name: [0.0, 0.0] for name in self.reference.modules}}
        marks: list[tuple[str, float]] = []

        def listen(module: Any, name: str) -> list[Any]:
            begun = [0.0]

            def before(*_: Any) -> None:
                begun[0] = time.perf_counter()

            def after(_module: Any, _inputs: Any, output: Any) -> None:
                found[name][0] += time.perf_counter() - begun[0]
                output.register_hook(lambda _: marks.append((name, time.perf_counter())))

            return [module.register_forward_pre_hook(before), module.register_forward_hook(after)]

        handles = [handle for name, module in self.reference.modules.items() for handle in listen(module, name)]
        try:
            begin = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            logits = self.reference.module(self.images)
            through = time.perf_counter()
            loss = self.functional.cross_entropy(logits, self.labels)
            found[LOSS][0] = time.perf_counter() - through
            marks.append((LOSS, time.perf_counter()))
            loss.backward()
            back = time.perf_counter()
            self.optimizer.step()
            end = time.perf_counter()
        finally:
            for handle in handles:
                handle.remove()
        for (name, start), (_, stop) in zip(marks, [*marks[1:], ("", back)], strict=True):
            found[name][1] += stop - start
        found[UPDATE] = [0.0, end - back]
        return found | {REST: [0.0, end - begin - sum(map(sum, found.values()))]}


def _clocked(
    function: Callable[..., Any], into: Breakdown, name_of: Callable[..., str], column: int
) -> Callable[..., Any]:
    """The function; adds its seconds to `into` under a name from its arguments: column 0 is forward, 1 backward."""

    def run(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        result = function(*arguments, **options)
        into.setdefault(name_of(*arguments), [0.0, 0.0])[column] += time.perf_counter() - begin
        return result

    return run


class Worker:
    """Serves the requests of the parent: `build`, `warm_up`, `turn`, `layers`, `memory`, `about`, `check`."""

    def __init__(self, side: str, cell: Cell) -> None:
        self.side, self.cell = side, cell
        self.work: Ours | Theirs
        self.run: Callable[[], None]
        if side == OURS:
            get_ops("cpu", cell.threads)  # imports Numba, because imports do not count on either side
        else:
            torch: Any = importlib.import_module("torch")
            torch.set_num_threads(cell.threads)
        self.baseline, self.files = memory.resident(), memory.of_files()
        self.counts = False  # whether the peak is counted from `build` on

    def about(self) -> dict[str, Any]:
        """The library, threads and cores of this side."""
        names = ("numpy", "numba", *(("torch",) if self.side != OURS else ()))
        pools = [
            {key: pool.get(key) for key in ("internal_api", "version", "num_threads")} for pool in threadpool_info()
        ]
        cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        return {"versions": {name: _version(name) for name in names}, "thread_pools": pools, "cores": cores}

    def build(self, kind: str) -> None:
        """Build the network for `kind`, train or infer. Memory is counted from here."""
        train = kind == "train"
        self.work = Ours(self.cell, train) if self.side == OURS else Theirs(self.cell, train, self.side)
        self.run = getattr(self.work, kind)
        self.counts = memory.forget_peak()

    def warm_up(self) -> dict[str, Any]:
        """Run at least twice, and up to ten times within two seconds; the first run's seconds, and the last's."""
        taken: list[float] = []
        while len(taken) < 2 or (len(taken) < 10 and sum(taken) < 2):
            taken.append(_seconds(self.run))
        peak = self._above(memory.peak())
        memory.forget_peak()
        return {"first_seconds": taken[0], "seconds": taken[-1], "peak_bytes": peak}

    def turn(self, times: int) -> float:
        """Seconds per run, the mean of `times` runs; a run before them, if it is short, fills the caches."""
        if times > 1:
            self.run()
        begin = time.perf_counter()
        for _ in range(times):
            self.run()
        return (time.perf_counter() - begin) / times

    def layers(self, times: int) -> list[Breakdown]:
        """The step in parts, `times` times; as in `turn`, a short step before them is not counted."""
        if times > 1:
            self.work.layers()
        return [self.work.layers() for _ in range(times)]

    def memory(self) -> dict[str, Any]:
        """The peak of bytes since the warm-up beyond those after the imports, and the library code among them.

        `from_building_on` is whether the system can count a peak from a given time.
        """
        files = memory.of_files()
        code = None if files is None or self.files is None else files - self.files
        held = self._above(memory.peak())
        return {"steady_peak_bytes": held, "library_bytes": code, "from_building_on": self.counts}

    def check(self, batch: int) -> dict[str, Any]:
        """The differences of PyTorch's results from ours, for both memory formats."""
        cell, found = self.cell, {}
        for layout in LAYOUTS:
            model = cell.build(get_ops("cpu", cell.threads), without_dropout(cell.config()))
            images, labels = cell.data(batch)
            found[layout] = differences(cell.options(), model, images, labels, layout=layout, inferred=cell.data()[0])
        return found

    def _above(self, held: int | None) -> int | None:
        return None if held is None or self.baseline is None else held - self.baseline


def _seconds(run: Callable[[], None]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextmanager
def _answers() -> Iterator[Any]:
    """The standard output of the process, protected from other prints."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        yield answers


def main() -> None:
    """Answer until the input ends."""
    side, cell = sys.argv[1], Cell(**json.loads(sys.argv[2]))
    with _answers() as answers:
        worker = Worker(side, cell)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = {"answer": getattr(worker, request.pop("ask"))(**request)}
            except (MemoryError, RuntimeError) as error:
                answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
