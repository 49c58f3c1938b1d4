"""The other examples of the bound of information: different ones at each step, the same ones after a resumption."""

import os
import signal

import pytest
import torch

from pixelvae.checkpoint import load_training
from pixelvae.data import Split
from pixelvae.training.loop import Observer
from pixelvae.training.objective import NUM_OTHERS, Objective
from small_runs import small_data, small_fit, small_model

RATE = Objective(rate=50.0)  # far above the KL of these steps: information is rewarded from the first decision on


class Asked(Split):
    """A split that keeps the indices of every request for other examples."""

    def __init__(self, split):
        self.split, self.spec, self.others = split, split.spec, []

    def __len__(self):
        return len(self.split)

    def __getitem__(self, key):
        if len(key.indices) == NUM_OTHERS:
            self.others.append(tuple(key.indices.tolist()))
        return self.split[key]


class Stop(Observer):
    """Send this process a signal after a step."""

    def __init__(self, after):
        self.after = after

    def on_step(self, record):
        if record.step == self.after:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(autouse=True)
def _decisions(monkeypatch):
    """A decision at every third step instead of every tenth."""
    monkeypatch.setattr("pixelvae.training.trainer.DECIDE_EVERY", 3)


def run(out, **options):
    """Six steps: the trained model, and the other examples of each step that asked for some."""
    data = small_data()
    data.train = asked = Asked(data.train)
    options |= {"validate_every": 100, "checkpoint_every": 100, "validation_images": 10}
    return small_fit(out, data=data, steps=6, objective=RATE, **options).model, asked.others


def test_the_other_examples_depend_on_seed_and_step(tmp_path):
    _, others = run(tmp_path / "a")
    assert len(others) == 3  # of the steps after 3, 4, 5
    assert len({*others}) == 3
    assert all(len({*step}) > NUM_OTHERS // 2 for step in others)
    assert run(tmp_path / "b")[1] == others
    assert set(run(tmp_path / "c", seed=1)[1]).isdisjoint(others)


def test_a_run_that_is_resumed_between_two_decisions_rewards_information_at_once(tmp_path):
    """The last decision is a part of the state."""
    whole, others = run(tmp_path / "whole")
    run(tmp_path / "parts", observer=Stop(4))
    assert load_training(tmp_path / "parts/last", torch.device("cpu"))["rewards_information"] is True
    resumed, rest = run(tmp_path / "parts", resume=True, model=small_model(seed=9))
    assert rest == others[1:]
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
