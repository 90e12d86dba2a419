"""A captured step: recorded once as a graph, replayed without Python, with the bits of a step that is not captured.

The streams, graphs and pools are stand-ins; what CUDA forbids while it records raises in them.
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import cnn
from backends.emulated import new_emulated_ops
from benchmarks.kernels.capture import CaptureError, Graph
from benchmarks.kernels.dry_run import DryRun
from benchmarks.models import model_config
from benchmarks.workload import named_options, workload
from cnn.backends import Activation, RandomKey, get_ops, gpu_missing
from cnn.backends.cuda import CudaOps
from cnn.backends.cuda.graph import SideStream
from cnn.models import build_model
from cnn.training.averaging import Lookahead, MovingAverage
from cnn.training.batches import AugmentSettings, BatchMaker, epoch_order
from cnn.training.inference import Scoring, predict_probabilities
from cnn.training.losses import CrossEntropy
from cnn.training.mixing import mixing_of_epoch
from cnn.training.optimizers import AdamSettings, SgdSettings, build_optimizer
from cnn.training.pixel_scaling import PixelScaling
from cnn.training.step import TrainingStep
from cnn.training.teacher import DistilSettings, Teacher
from cuda_emulator import unavailable
from foundation.config import config_dir
from training.states import everything

MODELS = sorted(path.stem for path in (config_dir() / "model").glob("*.yaml"))
IMAGES, BATCH, CLASSES, IMAGE = 14, 6, 3, (7, 6, 2)
COUNTS = (6, 6, 2)  # the last batch of an epoch is smaller
AUGMENT = AugmentSettings(flip=True, shift=0.2, rotate=15, zoom=0.1, erase=0.5)
SGD = SgdSettings(learning_rate=0.05, weight_decay=1e-3)
ADAMW = AdamSettings(learning_rate=0.01, weight_decay=1e-2, decoupled=True)
LAYERS = [
    {"conv2d": {"filters": 4, "bias": False}},
    "batch_norm",
    "relu",
    {"max_pool2d": 2},
    {"dropout": 0.3},
    {"residual": {"layers": [{"conv2d": {"filters": 4}}, "batch_norm"], "drop_path": 0.5}},
    "gelu",
    "flatten",
    {"dense": {"units": 5, "l2": 0.02}},
    "relu",
    {"dense": "classes"},
]
WHERE = pytest.mark.parametrize("where", ["emulator", pytest.param("cupy", marks=pytest.mark.gpu)])


def new_ops(where: str = "emulator", graph: bool = True, mode: str = "fast") -> CudaOps:
    if where == "cupy":
        if reason := gpu_missing():
            pytest.skip(reason)
        return get_ops("cupy", graph=graph)
    if reason := unavailable():
        pytest.skip(f"the CUDA emulator cannot run here: {reason}")
    return new_emulated_ops(mode, graph=graph)


def data(seed: int):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (IMAGES, *IMAGE), dtype=np.uint8), rng.integers(0, CLASSES, IMAGES)


MIXED = AugmentSettings(flip=True, crop=0.5, brightness=0.3, contrast=0.2, mixup=0.4, cutmix=1.0)


def make_step(ops, optimizer=ADAMW, seed: int = 1, storage: str = "float32", parts: bool = False) -> TrainingStep:
    """With `parts` images are mixed, labels are soft, a teacher guides, and averages of the weights are kept."""
    images, labels = data(seed)
    model = build_model({"name": "net", "layers": LAYERS}, ops, IMAGE, CLASSES, seed, storage=storage)
    loss = CrossEntropy(ops, np.linspace(0.5, 1.5, CLASSES).astype(np.float32), 0.1)
    augment = MIXED if parts else AUGMENT
    batches = BatchMaker(ops, PixelScaling.fit("standardize", images), augment, seed, storage=storage)
    optimizer = build_optimizer(optimizer, model, clip_norm=2.0)
    more = ()
    if parts:
        guide = build_model({"name": "guide", "layers": LAYERS}, ops, IMAGE, CLASSES, seed + 1, storage=storage)
        teacher = Teacher(ops, [guide], DistilSettings(["a run"], 0.3, 2.0), BATCH, CLASSES)
        soft = np.random.default_rng(seed).dirichlet(np.ones(CLASSES), IMAGES).astype(np.float32)
        more = (MovingAverage(model, 0.7), Lookahead(model, 2, 0.5), teacher, ops.array(soft))
    return TrainingStep(model, loss, optimizer, batches, ops.array(images), ops.array(labels), BATCH, *more)


def begin(step: TrainingStep, epoch: int) -> None:
    """An epoch with another order, and another learning rate, momentum and mixing in every step."""
    rates = np.array([0.02, 0.03, 0.005], np.float32) / epoch
    momenta = np.array([0.9, 0.5, 0.0], np.float32)
    mixing = mixing_of_epoch(step.batches.augment, IMAGE[:2], 1, epoch, len(COUNTS))
    step.begin_epoch(epoch_order(IMAGES, 1, epoch), rates, len(COUNTS) * (epoch - 1), momenta, mixing)


def train(step: TrainingStep, epoch: int) -> tuple[float, float]:
    """An epoch; its mean loss and accuracy."""
    begin(step, epoch)
    for count in COUNTS:
        step(count)
    return step.totals()


def bits(step: TrainingStep) -> dict[str, bytes]:
    """Those of everything that the step changes."""
    return {name: tensor.tobytes() for name, tensor in everything(step).items()}


# --- the same bits ----------------------------------------------------------------------------------------------------


@WHERE
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("optimizer", "parts"), [(SGD, False), (ADAMW, False), (SGD, True)], ids=["sgd", "adamw", "sgd_with_every_part"]
)
def test_a_captured_step_has_the_bits_of_an_eager_one(where, optimizer, parts, storage):
    """Over epochs with other learning rates, orders, dropout masks, augmentations, and a smaller last batch."""
    eager, captured = (
        make_step(new_ops(where, graph), optimizer, storage=storage, parts=parts) for graph in (False, True)
    )
    for epoch in range(1, 5):
        assert train(captured, epoch) == train(eager, epoch)
        assert bits(captured) == bits(eager)


def test_each_batch_size_is_one_graph_and_replays():
    step = make_step(new_ops())
    for epoch in range(1, 5):
        train(step, epoch)
    # Of eight full batches the first runs and the others replay; of four small ones likewise.
    assert step.ops.xp.streams.graphs == [7, 3]


def test_two_models_at_once_do_not_disturb_each_other():
    ops = new_ops()
    alone = [make_step(new_ops(), seed=seed) for seed in (1, 2)]
    together = [make_step(ops, seed=seed) for seed in (1, 2)]
    for epoch in (1, 2, 3):
        for step in alone:
            train(step, epoch)
        for step in together:
            begin(step, epoch)
        for count in COUNTS:  # in turns
            for step in together:
                step(count)
    assert [bits(step) for step in together] == [bits(step) for step in alone]
    assert bits(alone[0]) != bits(alone[1])


def test_a_loaded_state_is_what_a_captured_step_continues_from():
    step = make_step(new_ops())
    for epoch in (1, 2):
        train(step, epoch)
    weights, moments = step.model.state(), step.optimizer.state()
    expected = train(step, 3), bits(step)
    step.model.load_state(weights, "a file")
    step.optimizer.load_state(moments)
    assert (train(step, 3), bits(step)) == expected


def test_the_checked_emulator_finds_nothing_in_a_replay():
    step = make_step(new_ops(mode="checked"))
    for epoch in (1, 2, 3):
        train(step, epoch)
    assert step.ops.xp.streams.graphs == [5, 2]


# --- filter gradients beside the rest ---------------------------------------------------------------------------------


def doubled_beside(ops) -> float:
    """The double of 1, read beside a step that has a use for its memory."""
    x, z = (ops.array(np.full((1, 100), value, np.float32)) for value in (1, 5))
    out = ops.array(np.zeros(100, np.float32))

    def step():
        double = ops.add(x, x)
        with ops.beside(double):
            ops.bias_backward(double, out=out)  # its only row
        del double
        other = ops.add(z, z)
        ops.join()
        return other

    run = ops.capture(step)
    for _ in range(3):
        ops.copy_in(out, np.zeros(100))
        assert float(ops.to_numpy(run())[0, 0]) == 10
    return float(ops.to_numpy(out)[0])


@WHERE
def test_arrays_that_are_read_beside_the_rest_are_kept(where, monkeypatch):
    """Else the stand-in, which does the work beside the rest as late as it may, finds that their memory is gone."""
    assert doubled_beside(new_ops(where)) == 2
    if where == "emulator":
        monkeypatch.setattr(SideStream, "beside", forgetful(SideStream.beside))
        with pytest.raises(CaptureError, match="given back"):
            doubled_beside(new_ops())


def test_work_beside_the_rest_must_be_joined(monkeypatch):
    monkeypatch.setattr(SideStream, "join", lambda self: None)
    with pytest.raises(CaptureError, match="was not joined"):
        doubled_beside(new_ops())


def forgetful(beside):
    """`beside` without the arrays that are read."""
    return lambda self, *_: beside(self)


# --- validation -------------------------------------------------------------------------------------------------------


@WHERE
def test_captured_scoring_follows_the_weights(where):
    """Also after the graph was recorded, and as `predict_probabilities` scores."""
    step = make_step(new_ops(where))
    images, _ = data(9)
    scoring = Scoring(step.model, step.ops.array(images), step.batches, 4)
    for epoch in range(1, 5):
        train(step, epoch)
        expected = predict_probabilities(step.model, step.ops.array(images), step.batches, 4)
        np.testing.assert_array_equal(scoring(), expected)
    if where == "emulator":
        # Per epoch three batches of 4 images and one of 2.
        assert sorted(step.ops.xp.streams.graphs) == sorted([7, 3, 11, 3])


def test_scoring_on_the_other_backends_is_the_same_function(ops):
    step = make_step(ops)
    images, _ = data(9)
    scoring, sizes = Scoring(step.model, images, step.batches, 4), []
    for epoch in (1, 2):
        train(step, epoch)
        np.testing.assert_array_equal(scoring(sizes.append), predict_probabilities(step.model, images, step.batches, 4))
    assert sizes == [4, 4, 4, 2] * 2


# --- no host work -----------------------------------------------------------------------------------------------------


def project_calls(run) -> Counter:
    """How often each function of the package `cnn` is called while `run` runs."""
    root, seen = str(Path(cnn.__file__).parent), Counter()

    def observe(frame, event, _):
        if event == "call" and frame.f_code.co_filename.startswith(root):
            seen[frame.f_code.co_qualname] += 1

    sys.setprofile(observe)
    try:
        run()
    finally:
        sys.setprofile(None)
    return seen


@pytest.mark.parametrize("model", MODELS)
def test_a_replayed_step_runs_no_python_for_a_layer(model):
    """No more calls than the step and the launch of its graph, whatever the network; nothing is not capturable.

    The blocks that the first call leaves may lie so that recording needs a little more than it did.
    """
    ops = CudaOps(DryRun(), device="dry run")
    options = named_options(optimizer="adam", augment="flip_shift")
    work = workload(options, model_config(model), ops, input_shape=(48, 48, 1), classes=7, images=40, batch=4)
    _, second, third, fourth = (project_calls(work) for _ in range(4))
    assert sum(second.values()) > 100
    assert set(third) == {"TrainingStep.__call__", "RecordedStep.__call__"}
    assert set(third.values()) == {1}
    assert fourth == third
    assert ops.xp.streams.graphs == [3]
    assert ops.xp.streams.taken <= 0.1 * ops.recorded_bytes()


@pytest.mark.parametrize("model", MODELS)
def test_a_replayed_validation_runs_no_python_for_a_layer(model):
    ops = CudaOps(DryRun(), device="dry run")
    work = workload(
        named_options(optimizer="adam"), model_config(model), ops, input_shape=(48, 48, 1), classes=7, images=8, batch=4
    )
    scoring = Scoring(work.model, work.step.images, work.step.batches, 2)
    scoring()
    scoring()
    calls = project_calls(scoring)
    assert calls["RecordedStep.__call__"] == 4
    assert calls["Executor.forward"] == 0


# --- what may not happen in a step ------------------------------------------------------------------------------------


def captured(ops, work):
    """Call what captures `work` twice: the second time it is recorded."""
    run = ops.capture(work)
    run()
    return run()


@pytest.fixture(params=["emulator", "dry run"])
def capturing(request) -> CudaOps:
    return new_ops() if request.param == "emulator" else CudaOps(DryRun(), device="dry run")


@pytest.mark.parametrize(
    ("word", "work"),
    [
        ("to the host", lambda ops, x: ops.to_numpy(x)),
        ("upload", lambda ops, x: ops.array(np.ones(3, np.float32))),
        ("waiting", lambda ops, x: ops.xp.cuda.get_current_stream().synchronize()),
        ("module", lambda ops, x: ops.xp.RawModule(code="")),
        ("array|upload", lambda ops, x: ops.copy_in(x, np.ones(4))),
    ],
)
def test_what_cuda_forbids_while_it_records_is_an_error_with_a_note(capturing, word, work):
    x = capturing.array(np.ones(4, np.float32))
    seen = []

    def once_recording():
        if seen:
            work(capturing, x)
        seen.append(1)

    with pytest.raises(CaptureError, match=word) as caught:
        captured(capturing, once_recording)
    assert any("backend.graph=false" in note for note in caught.value.__notes__)
    assert capturing.xp.streams.recording is None  # the stream is as it was
    y = captured(capturing, lambda: capturing.add(x, x))
    assert y.shape == (4,)


def test_memory_that_is_taken_while_recording_is_counted_and_in_other_modes_an_error(capturing):
    sizes, xp = iter([10, 5000]), capturing.xp
    captured(capturing, lambda: capturing.empty((next(sizes),), np.float32))
    assert xp.streams.taken >= 4 * 5000
    stream, pool = xp.cuda.Stream(non_blocking=True), xp.cuda.MemoryPool()
    with stream, xp.cuda.using_allocator(pool.malloc):
        stream.begin_capture(0)
        with pytest.raises(CaptureError, match="bytes from the device"):
            capturing.empty((3,), np.float32)
        stream.end_capture()


def test_a_number_by_value_is_frozen_and_an_array_is_not():
    """So the step's own numbers are in arrays."""
    ops = new_ops()
    x, numbers = ops.array(np.full(4, -1.0, np.float32)), iter([0.5, 0.25, 0.125])
    slope = ops.capture(lambda: ops.activation(x, Activation("leaky_relu", next(numbers))))
    found = [float(ops.to_numpy(slope())[0]) for _ in range(4)]
    assert found == [-0.5, -0.25, -0.25, -0.25]
    ops.copy_in(x, np.full(4, -2.0, np.float32))
    assert float(ops.to_numpy(slope())[0]) == -0.5
    step = ops.array(np.zeros(1, np.int64))
    ones = ops.array(np.ones(4096, np.float32))
    drop = ops.capture(lambda: ops.dropout(ones, 0.5, RandomKey(1, 2, step)))
    masks = []
    for number in range(4):
        ops.copy_in(step, np.array([number]))
        masks.append(ops.to_numpy(drop()).tobytes())
    assert len(set(masks)) == 4


def test_the_memory_of_a_graph_lives_as_long_as_the_graph_and_no_longer():
    ops = new_ops()
    x = ops.array(np.ones(100, np.float32))
    run = ops.capture(lambda: ops.add(ops.add(x, x), x))  # the sum in between is freed while it is recorded
    for _ in range(2):
        run()
    gc.collect()
    np.testing.assert_array_equal(ops.to_numpy(run()), np.full(100, 3, np.float32))
    assert ops.recorded_bytes() > 0
    del run
    gc.collect()
    assert ops.recorded_bytes() == 0


def test_a_graph_whose_arrays_are_gone_is_an_error():
    ops = new_ops()
    held = [ops.array(np.ones(3, np.float32))]
    run = ops.capture(lambda: ops.add(held[0], held[0]))
    for _ in range(2):
        run()
    held.clear()
    gc.collect()
    with pytest.raises(CaptureError, match="freed"):
        run()


def test_the_null_stream_does_not_capture():
    xp = DryRun()
    with pytest.raises(CaptureError, match="default"):
        xp.cuda.Stream(null=True).begin_capture()
    with pytest.raises(CaptureError, match="not capturing"):
        xp.cuda.Stream().end_capture()


def test_work_on_another_stream_is_not_recorded():
    ops = CudaOps(DryRun(), device="dry run")
    x = ops.empty((3,), np.float32)
    ops.add(x, x)
    stream = ops.xp.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    with pytest.raises(CaptureError, match="another"):
        ops.add(x, x)
    assert isinstance(stream.end_capture(), Graph)


def test_without_graph_and_with_cublas_the_step_is_returned_itself():
    def step():
        return None

    for options in ({"graph": False}, {"cublas": True}):
        ops = CudaOps(DryRun(), device="dry run", **options)
        assert ops.capture(step) is step
        assert not ops.replays
