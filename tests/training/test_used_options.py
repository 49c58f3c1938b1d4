"""Every option of training has its effect: on weights, gradients, measurements or processes."""

import math
import os
from multiprocessing import active_children

import pytest
import torch

from pixelvae.checkpoint import load, load_progress
from pixelvae.data import Batches, Split
from pixelvae.distributed import World
from pixelvae.training.batches import training_batches
from pixelvae.training.loop import Observer
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer
from small_runs import small_data, small_fit, small_model

DATA = small_data()


def trainer(seed=0, **options):
    training = {"batch_size": 8, "compile": "never", "precision": "float32", "lr_warmup_steps": 0} | options
    return Trainer(small_model(), TrainingOptions(**training), Objective(), World(torch.device("cpu")), seed)


def updated(steps=1, **options):
    """A trainer after some updates, and its last measurement."""
    made = trainer(**options)
    keys = Batches(len(DATA.train), made.training.examples_per_update, seed=0)
    for _, key in zip(range(steps), keys, strict=False):
        measured = made.update(*DATA.train[key])
    return made, measured


def flat(parameters):
    return torch.cat([p.detach().flatten() for p in parameters])


def norm_of_gradients(made):
    return float(flat(p.grad for p in made.model.parameters() if p.grad is not None).norm())


def test_clip_norm_bounds_the_gradient_and_0_does_not():
    """What is reported is the norm before."""
    free, measured = updated(clip_norm=0.0)
    whole = float(measured.values[-2])
    assert norm_of_gradients(free) == pytest.approx(whole, rel=1e-5)
    clipped, measured = updated(clip_norm=whole / 10)
    assert norm_of_gradients(clipped) == pytest.approx(whole / 10, rel=1e-4)
    assert float(measured.values[-2]) == pytest.approx(whole, rel=1e-5)


def test_weight_decay_is_a_share_of_the_weights_in_each_step():
    before = flat(trainer().model.parameters())
    without, with_decay = (flat(updated(weight_decay=decay)[0].model.parameters()) for decay in (0.0, 0.5))
    torch.testing.assert_close(with_decay - without, -2e-3 * 0.5 * before, rtol=1e-3, atol=1e-6)


def test_a_resumed_run_takes_the_weight_decay_that_it_is_given():
    state = updated(weight_decay=0.5)[0].state_dict()
    resumed = trainer(weight_decay=0.1)
    resumed.load_state_dict(state)
    assert [group["weight_decay"] for group in resumed.optimizer.param_groups] == [0.1]


def test_a_step_has_the_length_of_its_learning_rate():
    """Adam's first step moves each weight by the learning rate, here that of the first of ten steps of warm-up."""
    before = flat(trainer().model.parameters())
    moved = flat(updated(learning_rate=0.05, lr_warmup_steps=10)[0].model.parameters()) - before
    assert float(moved.abs().max()) == pytest.approx(0.005, rel=1e-3)


def test_the_decay_of_the_average_is_the_one_that_is_asked_for():
    for decay, equal in ((0.0, True), (0.9, False)):
        made, _ = updated(steps=3, ema_decay=decay)
        same = torch.allclose(flat(made.averaged_model.parameters()), flat(made.model.parameters()), atol=1e-7)
        assert same == equal


def test_noise_and_batches_are_of_seed_and_step():
    made, _ = updated()
    noises = [trainer().noise(4), made.noise(4), trainer(seed=1).noise(4)]
    assert len({tuple(noise.flatten().tolist()) for noise in noises}) == 3
    firsts = []
    for seed in (0, 0, 1):
        with training_batches(DATA.train, trainer(seed)) as batches:
            firsts.append(next(batches)[0])
    assert torch.equal(firsts[0], firsts[1])
    assert not torch.equal(firsts[0], firsts[2])


class Workers(Split):
    """Examples whose label is the number of the process that loads them."""

    def __init__(self):
        self.spec = DATA.spec

    def __len__(self):
        return 64

    def __getitem__(self, key):
        return torch.zeros(len(key.indices), 1, 8, 8, dtype=torch.long), torch.full((len(key.indices), 1), os.getpid())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_so_many_processes_load_the_batches(num_workers):
    with training_batches(Workers(), trainer(num_workers=num_workers)) as batches:
        seen = {int(next(batches)[1][0, 0]) for _ in range(6)}
    assert len(seen - {os.getpid()}) == num_workers


def test_no_process_that_loads_batches_outlives_them():
    """They ignore signals, so they are ended even while the batches are still referenced."""
    with training_batches(Workers(), trainer(num_workers=2)) as batches:
        processes = {int(next(batches)[1][0, 0]) for _ in range(6)}
        assert {child.pid for child in active_children()} >= processes
    assert {child.pid for child in active_children()}.isdisjoint(processes)
    assert batches is not None


class Seen(Observer):
    """The step of every validation and its number of images; at every step, that of the last checkpoint."""

    def __init__(self, out):
        self.out, self.validations, self.saved = out, [], []

    def on_step(self, record):
        last = self.out / "last"
        self.saved.append(load_progress(last).step if last.is_dir() else 0)

    def on_validation(self, step, model, bounds):
        self.validations.append((step, bounds.num_images))


def test_validations_and_checkpoints_come_as_often_as_asked_for_and_on_so_many_images(tmp_path):
    seen = Seen(tmp_path)
    fitted = small_fit(
        tmp_path, steps=7, batch_size=4, accumulate=2, validate_every=3, checkpoint_every=2, validation_images=10,
        observer=seen,
    )  # fmt: skip
    assert seen.validations == [(3, 10), (6, 10), (7, 10)]
    assert seen.saved == [0, 0, 2, 2, 4, 4, 6]
    assert fitted.progress.images_seen == 7 * 8
    assert math.isclose(fitted.progress.train_seconds, load_progress(tmp_path / "last").train_seconds)


def test_the_result_is_the_averaged_model(tmp_path):
    fitted = small_fit(tmp_path, steps=3, ema_decay=0.9)
    assert torch.equal(flat(fitted.model.parameters()), flat(load(tmp_path / "last").parameters()))


def test_a_resumed_run_adds_its_seconds(tmp_path):
    first = small_fit(tmp_path, steps=3).progress
    second = small_fit(tmp_path, steps=4, resume=True).progress
    assert second.step == 4
    assert second.train_seconds > first.train_seconds
