"""Laws of one step: it does not wait for the device, and what is not finite leaves the weights alone."""

import math
import time

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pixelvae.data import Batches
from pixelvae.distributed import World
from pixelvae.training import objective
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer, TrainingDivergedError, moving_average
from small_runs import CONFIG, small_data, small_model


class ReadsOfFloats(TorchDispatchMode):
    """Counts what makes a host wait for its device: float(), bool(), item() of a floating-point tensor."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        reads = function in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.is_nonzero.default)
        self.count += reads and args[0].is_floating_point()
        return function(*args, **kwargs or {})


def trainer_and_batch(objective, device):
    data = small_data()
    options = TrainingOptions(batch_size=8, compile="never", precision="float32")
    trainer = Trainer(small_model(), options, objective, World(device), 0)
    return trainer, data.train[next(iter(Batches(len(data.train), 8, seed=0)))]


@pytest.mark.parametrize(
    "objective", [Objective(warmup_steps=4), Objective(free_bits=0.1), Objective(rate=3.0, consistency=1.0)]
)
def test_a_step_does_not_wait_for_the_device(objective, device):
    """On an accelerator the host would stand still at each float; labels and counters are integers."""
    trainer, batch = trainer_and_batch(objective, device)
    trainer.update(*batch)  # the optimizer makes its state
    with ReadsOfFloats() as reads:
        measured = trainer.update(*batch)
    assert reads.count == 0
    with reads:
        assert float(measured.values[0]) == trainer.read([measured], since=0.0)[0].loss
    assert reads.count == 1  # the law can fail


@pytest.mark.parametrize("rate", [None, 3.0])
def test_an_update_that_is_not_finite_is_skipped_and_told_at_the_next_read(rate, device):
    trainer, batch = trainer_and_batch(Objective(rate=rate), device)
    good = [trainer.update(*batch)]
    before = [p.clone() for p in trainer.model.parameters()]
    bound = trainer.bound
    trainer.bound = lambda *given, **noise: (b := bound(*given, **noise))._replace(log_px=b.log_px * math.nan)
    bad = [trainer.update(*batch)]
    assert all(torch.equal(p, q) for p, q in zip(trainer.model.parameters(), before, strict=True))
    assert trainer.read(good, since=0.0)[0].step == 1
    with pytest.raises(TrainingDivergedError, match="after step 1: the loss is nan nats"):
        trainer.read(good + bad, since=0.0)


def test_the_average_of_the_weights_follows_its_formula():
    average, decay = [torch.tensor([1.0])], 0.5
    update = moving_average(decay)
    expected = 1.0
    for n, weight in enumerate([2.0, 4.0, 8.0, 16.0] * 5, start=1):
        update(average, [torch.tensor([weight])], n)
        d = min(decay, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * weight
        assert average[0].item() == pytest.approx(expected)  # at every step, since the first ones are soon forgotten


def test_every_update_enters_the_average_of_the_weights(float64, device):
    trainer, batch = trainer_and_batch(Objective(), device)
    for n in range(4):
        before = [p.clone() for p in trainer.averaged_model.parameters()]
        trainer.update(*batch)
        d = min(trainer.training.ema_decay, (1 + n) / (10 + n)) if n else 0.0  # the first one is taken as it is
        for old, new, weight in zip(
            before, trainer.averaged_model.parameters(), trainer.model.parameters(), strict=True
        ):
            torch.testing.assert_close(new, d * old + (1 - d) * weight)


def test_the_seconds_of_all_reads_are_added_also_those_before_a_resumption(device):
    trainer, batch = trainer_and_batch(Objective(), device)
    for reads in (1, 2):
        measured = trainer.update(*batch)
        trainer.read([measured], since=time.perf_counter() - 1000)
        assert 1000 * reads <= trainer.progress.train_seconds < 1000 * (reads + 1)
    resumed, _ = trainer_and_batch(Objective(), device)
    resumed.load_state_dict(trainer.state_dict())
    resumed.read([measured], since=time.perf_counter() - 1000)
    assert 3000 <= resumed.progress.train_seconds < 4000


def after_updates(updates, objective=None, precision="float32", **options):
    """The weights and measurements after some updates."""
    data, model = small_data(), small_model()
    training = TrainingOptions(compile="never", precision=precision, lr_warmup_steps=0, **options)
    trainer = Trainer(model, training, objective or Objective(), World(torch.device("cpu")), 0)
    keys = Batches(len(data.train), training.examples_per_update, seed=0)
    values = [trainer.update(*data.train[key]).values for _, key in zip(range(updates), keys, strict=False)]
    return list(model.parameters()), torch.stack(values)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_batches_equal_one_large_batch(float64, accumulate):
    """Same examples, same noise, same gradients, same measurements, up to rounding."""
    objective = Objective(beta=0.5, consistency=1.0)
    large, of_large = after_updates(3, objective, batch_size=16)
    small, of_small = after_updates(3, objective, batch_size=16 // accumulate, accumulate=accumulate)
    torch.testing.assert_close(of_small, of_large, rtol=1e-9, atol=1e-9)
    for a, b in zip(small, large, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    other, _ = after_updates(3, objective, batch_size=8)
    assert not all(torch.allclose(a, b) for a, b in zip(other, large, strict=True))  # the law can fail


def test_free_bits_look_at_each_accumulated_batch(float64):
    """The floor is compared with the mean of a batch, so the losses differ and the measured bound does not."""
    objective = Objective(free_bits=0.05)
    _, large = after_updates(1, objective, batch_size=16)
    _, small = after_updates(1, objective, batch_size=2, accumulate=8)
    torch.testing.assert_close(small[:, 1:5], large[:, 1:5])  # log_px and the KL of each group
    assert small[0, 0] > large[0, 0] + 1e-6
    _, rated = after_updates(1, Objective(rate=3.0), batch_size=2, accumulate=8)
    assert rated.isfinite().all()


def test_a_reward_of_information_does_not_train_the_prior(monkeypatch):
    """It is part of the KL above the cap; a prior that it trained would move away from the posterior."""
    monkeypatch.setattr(objective, "VERIFIABLE_SHARE", -math.inf)  # always above the cap
    monkeypatch.setattr(objective, "normal_information", lambda q: q.loc.sum() * 0 + math.inf)  # so the KL is rewarded
    data, gradients = small_data(), []
    options = TrainingOptions(batch_size=8, compile="never", precision="float32")
    model = small_model(CONFIG | {"prior": {"class_path": "FlowPrior"}})
    trainer = Trainer(model, options, Objective(rate=9.0), World(torch.device("cpu")), 0)
    x, y = data.train[next(iter(Batches(len(data.train), 8, seed=0)))]
    for among in (None, (x, y)):
        trainer.optimizer.zero_grad()
        trainer.backward(x, trainer.noise(len(x)), y, torch.tensor(-2.0), among)
        parts = (model.prior, model.encoder)
        gradients.append([torch.cat([p.grad.flatten() for p in part.parameters()]) for part in parts])
    (prior, encoder), (prior_rewarded, encoder_rewarded) = gradients
    assert torch.equal(prior, prior_rewarded)
    assert not torch.allclose(encoder, encoder_rewarded, rtol=0.01)
    assert all(parameter.requires_grad for parameter in model.prior.parameters())
