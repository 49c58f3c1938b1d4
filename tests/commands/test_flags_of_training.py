"""Every option of pixelvae train has an effect, and an interrupted run has its exit code."""

import os
import signal

import pytest
import torch
import yaml

from pixelvae.checkpoint import load, load_progress
from pixelvae.commands import train
from pixelvae.commands.checkpoints import training_metrics
from pixelvae.reporting.tensorboard import TensorBoardObserver
from small_runs import CONFIG

TRAIN = {"batch_size": 4, "compile": "never", "validate_every": 4, "validation_images": 10, "steps": 1}


@pytest.fixture
def trained(tmp_path):
    """A function: train into a folder of a name, and return it."""
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(CONFIG | {"train": TRAIN, "objective": {}}))

    def run(name, *options):
        train.run([str(config), f"--out={tmp_path / name}", "--device=cpu", *options])
        return tmp_path / name

    return run


def weights(run):
    return torch.cat([p.flatten() for p in load(run / "last").parameters()])


def test_the_seed_is_that_of_weights_data_and_checkpoint(trained):
    """With a learning rate of almost nothing what is left is the start; two seeds, two starts."""
    still = "--train.learning_rate=1e-30"
    first, again, other = (
        weights(trained(name, still, f"--seed={seed}")) for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    run = trained("d", "--seed=5")
    assert load_progress(run / "last").seed == 5
    assert training_metrics(run / "last", load(run / "last"))["seed"] == 5


def test_a_model_is_given_labels_if_it_is_asked_for(trained):
    shown = [load(trained(name, f"--class_conditional={name}") / "last").spec.num_classes for name in ("true", "false")]
    assert shown == [(10,), ()]


def test_changes_are_refused_unless_they_are_accepted(trained):
    run = trained("a")
    options = ("--resume", "--train.steps=2", "--train.clip_norm=3")
    with pytest.raises(ValueError, match=r"train\.clip_norm"):
        trained("a", *options)
    assert load_progress(run / "last").step == 1
    trained("a", *options, "--resume_changed")
    assert load_progress(run / "last").step == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_an_interrupted_run_exits_with_its_signal(trained, monkeypatch, number, code):
    """So that `pixelvae train ... && pixelvae evaluate ...` goes no further."""
    on_step = TensorBoardObserver.on_step

    def interrupt(self, record):
        on_step(self, record)
        os.kill(os.getpid(), number)

    monkeypatch.setattr(TensorBoardObserver, "on_step", interrupt)
    with pytest.raises(SystemExit) as ended:
        trained("a", "--train.steps=50")
    assert ended.value.code == code
