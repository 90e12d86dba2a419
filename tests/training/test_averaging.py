"""The moving average of the weights and lookahead: against loops, PyTorch's swa_utils, and in a run."""

import numpy as np
import pytest

from cnn.models import build_model
from cnn.training.averaging import Lookahead, MovingAverage
from cnn.training.checkpoint import load_checkpoint
from cnn.training.loop import TrainerSettings
from cnn.training.progress import Progress
from foundation.errors import UserError
from training.conftest import LAYERS


def small(ops, storage="float32"):
    return build_model({"name": "tiny", "layers": LAYERS}, ops, (8, 8, 1), 3, 1, storage=storage)


def moved(model, rng):
    """New weights and statistics, as an update leaves them."""
    state = {name: each + rng.normal(size=each.shape).astype(np.float32) for name, each in model.state().items()}
    model.load_state(state, "the test")
    return {name: each.astype(float) for name, each in state.items()}


def number(value):
    return np.array([value], np.float32)


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_the_average_is_a_weighted_sum_of_all_weights_so_far(ops, rng, decay):
    model = small(ops)
    average = MovingAverage(model, decay)
    seen, weights = [{name: each.astype(float) for name, each in model.state().items()}], [1.0]
    for step in range(1, 8):
        (share,) = average.shares(np.array([step]))
        assert share == pytest.approx(1 - min(decay, (1 + step) / (10 + step)))
        seen.append(moved(model, rng))
        weights = [weight * (1 - float(share)) for weight in weights] + [float(share)]
        average.update(number(share))
    assert sum(weights) == pytest.approx(1)
    for name, tensor in average.model.state().items():
        expected = sum(weight * each[name] for weight, each in zip(weights, seen, strict=True))
        np.testing.assert_allclose(tensor, expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_average_is_that_of_pytorch(ops, rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model = small(ops)
    average = MovingAverage(model, 0.9)
    theirs = torch.nn.Linear(3, 4)
    follows = torch.optim.swa_utils.AveragedModel(theirs, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    follows.update_parameters(theirs)  # which copies the first weights, as ours begins with them
    name = next(name for name, each in model.state().items() if each.size >= 12)
    for step in range(1, 6):
        state = moved(model, rng)
        with torch.no_grad():
            theirs.weight.copy_(torch.from_numpy(state[name].reshape(-1)[:12].reshape(4, 3)))
        if step == 1:
            follows.module.weight.data.copy_(
                torch.from_numpy(average.model.state()[name].reshape(-1)[:12].reshape(4, 3))
            )
        follows.update_parameters(theirs)
        average.update(number(0.1))
    found = average.model.state()[name].reshape(-1)[:12].reshape(4, 3)
    np.testing.assert_allclose(found, follows.module.weight.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("every", [1, 3])
def test_lookahead_returns_to_slow_weights_every_few_steps(ops, rng, every):
    model = small(ops)
    lookahead = Lookahead(model, every, 0.25)
    names = list(model.values.tensors)
    slow = {name: each.astype(float) for name, each in model.state().items() if name in names}
    for step in range(1, 8):
        fast = moved(model, rng)
        (shares,) = lookahead.shares(np.array([step]))
        lookahead.update(number(shares[0]), number(shares[1]))
        if step % every == 0:
            slow = {name: slow[name] + 0.25 * (fast[name] - slow[name]) for name in names}
            fast = slow
        for name in names:
            np.testing.assert_allclose(model.state()[name], fast[name], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(lookahead.state()[name], slow[name], rtol=1e-5, atol=1e-6)


def test_the_rounded_weights_follow_lookahead(ops, rng):
    model = small(ops, "bfloat16")
    lookahead = Lookahead(model, 1, 0.5)
    moved(model, rng)
    lookahead.update(number(0.5), number(1))
    expected = ops.stored(model.values.flat, "bfloat16")
    np.testing.assert_array_equal(model.rounded.flat, expected)


def test_the_rounded_weights_of_the_average_are_its_weights(ops, rng):
    model = small(ops, "bfloat16")
    average = MovingAverage(model, 0.5)
    moved(model, rng)
    average.update(number(0.25))
    expected = ops.stored(average.model.values.flat, "bfloat16")
    np.testing.assert_array_equal(average.model.rounded.flat, expected)
    assert (expected != model.rounded.flat).any()


def test_slow_weights_of_another_model_are_refused_and_nothing_has_changed(ops):
    lookahead = Lookahead(small(ops), 2, 0.5)
    before = lookahead.state()
    for changed in ({}, before | {"more": np.zeros(2)}, before | {name: np.zeros(1) for name in before}):
        with pytest.raises(UserError, match=r"^the file: the slow weights of lookahead are of another model"):
            lookahead.load_state(changed, "the file")
    for name, each in lookahead.state().items():
        np.testing.assert_array_equal(each, before[name])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_average_is_what_a_run_scores_and_keeps(make_trainer, pack, precision):
    """With a past that weighs nothing the run is that without; else other weights are scored, and none trained."""
    runs = {}
    for name, ema in (("plain", None), ("now", 0.0), ("averaged", 0.95)):
        runs[name] = make_trainer(name, ema=ema, epochs=3, precision=precision)
        with Progress() as progress:
            runs[name].fit(pack.splits["train"], pack.splits["validation"], progress)
    losses = {name: [row["val_loss"] for row in run.history] for name, run in runs.items()}
    assert losses["plain"] == losses["now"]
    assert losses["plain"] != losses["averaged"]
    last = {name: load_checkpoint(run.folder / "checkpoint.last.safetensors")[0] for name, run in runs.items()}
    for name, tensor in last["plain"].items():
        np.testing.assert_array_equal(tensor, last["averaged"][name], err_msg=name)
    best = runs["averaged"].model.state()
    if runs["averaged"].best.epoch == 3:
        for name, tensor in best.items():
            np.testing.assert_array_equal(tensor, last["averaged"][f"average/{name}"], err_msg=name)
    kept, _ = load_checkpoint(runs["averaged"].folder / "model.best.safetensors")
    for name, tensor in best.items():
        np.testing.assert_array_equal(tensor, kept[name], err_msg=name)


@pytest.mark.parametrize("folder", ["run", None])
def test_without_validation_the_last_average_is_kept(make_trainer, pack, folder):
    trainer = make_trainer(folder, ema=0.9, epochs=2)
    with Progress() as progress:
        trainer.fit(pack.splits["train"], None, progress)
    for name, tensor in trainer.average.model.state().items():
        np.testing.assert_array_equal(trainer.model.state()[name], tensor, err_msg=name)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"ema": 1.0}, "trainer.ema"),
        ({"ema": -0.1}, "trainer.ema"),
        ({"lookahead": 0}, "trainer.lookahead"),
        ({"lookahead_share": 0.0}, "trainer.lookahead_share"),
        ({"lookahead_share": 1.5}, "trainer.lookahead_share"),
    ],
)
def test_settings_without_sense_are_refused(settings, says):
    with pytest.raises(UserError, match=f"^{says} ") as caught:
        TrainerSettings(**settings)
    assert "\n" not in str(caught.value)
