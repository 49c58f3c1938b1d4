"""Training from the command line, and runs started by other commands."""

import functools
from pathlib import Path

import pytest
import torch
import yaml

from pixelvae.checkpoint import CheckpointError, load, load_config, load_progress
from pixelvae.commands import train
from pixelvae.commands.configs import shipped
from small_runs import CONFIG

TRAIN = {"batch_size": 4, "compile": "never", "validate_every": 4, "validation_images": 50}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(CONFIG | {"train": TRAIN, "objective": {}, "out": "overridden", "seed": 3}))
    return path


def test_a_run_keeps_its_resolved_configuration_and_names_what_comes_next(config, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["--config", str(config), f"--out={out}", "--train.steps=2", "--device=cpu"]
    train.run(arguments)
    assert load_progress(out / "best").step == 2
    kept = load_config(out / "best")
    assert (kept["seed"], kept["train"]["steps"], kept["out"]) == (3, 2, str(out))
    said = capsys.readouterr().out
    assert "8 images in" in said
    assert f"pixelvae evaluate {out}/best" in said
    with pytest.raises(ValueError, match="already holds a run; add --resume"):
        train.run(arguments)


def test_a_run_starts_from_the_weights_of_another(config, tmp_path, capsys):
    """Of a run its best; resumed, it goes on with its own. The origin cannot be changed afterwards."""
    options = ["--config", str(config), "--device=cpu", "--train.learning_rate=1e-30"]
    train.run([*options, f"--out={tmp_path / 'first'}", "--train.steps=2"])
    start = ["--init_from", str(tmp_path / "first"), f"--out={tmp_path / 'tuned'}", "--seed=4"]
    train.run([*options, *start, "--train.steps=2"])
    assert f"Starts from {tmp_path}/first/best, step 2\n" in capsys.readouterr().out
    assert same_weights(tmp_path / "first/best", tmp_path / "tuned/best"), "so small a learning rate changes nothing"
    assert load_config(tmp_path / "tuned/last")["init_from"] == str(tmp_path / "first/best")
    assert "init_from" not in load_config(tmp_path / "first/last")

    train.run([*options, *start, "--train.steps=3", "--train.learning_rate=0.1", "--resume", "--resume_changed"])
    assert "Starts from" not in capsys.readouterr().out
    tuned = load_config(tmp_path / "tuned/last")
    assert tuned["init_from"] == str(tmp_path / "first/best")
    with pytest.raises(ValueError, match=r"another configuration: init_from: \S+first/best -> not set"):
        train.run([*options, *start[2:], "--train.steps=4", "--train.learning_rate=0.1", "--resume"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--init_from=nowhere"], "--init_from: checkpoint=nowhere: no such folder"),
        (["--latent_dim=5"], r"--init_from: the weights in \S+ do not fit the model: \S+ has shape .* more"),
    ],
)
def test_weights_to_start_from_that_are_not_there_or_do_not_fit_are_one_line(config, tmp_path, change, message):
    options = ["--config", str(config), "--device=cpu", "--train.steps=1"]
    train.run([*options, f"--out={tmp_path / 'first'}"])
    with pytest.raises(CheckpointError, match=message) as error:
        train.run([*options, f"--out={tmp_path / 'tuned'}", f"--init_from={tmp_path / 'first'}", *change])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "tuned").exists()


def same_weights(a, b):
    return all(
        torch.equal(x, y) for x, y in zip(load(a).state_dict().values(), load(b).state_dict().values(), strict=True)
    )


@pytest.fixture
def called(monkeypatch):
    """The options of every call of train.main, which does not train."""
    calls = []
    monkeypatch.setattr(train, "main", functools.wraps(train.main)(lambda **options: calls.append(options)))
    return calls


@pytest.mark.parametrize(
    "name", ["digits/pixelvae", "--config=digits/pixelvae", "--config configs/digits/pixelvae.yaml"]
)
def test_a_shipped_configuration_has_a_name(name, called, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    train.run([*name.split(), "--train.steps", "7", "--out=here"])
    assert called[0]["train"].steps == 7
    assert called[0]["config"]["decoder"]["class_path"] == "pixelvae.GatedPixelCNN"
    assert called[0]["out"] == Path("here")


@pytest.mark.parametrize(
    ("words", "resume"),
    [("", False), ("--resume", True), ("--resume=true", True), ("--resume false", False), ("--resume auto", "auto")],
)
def test_a_switch_needs_no_value(words, resume, called):
    for line in (f"digits/pixelvae {words} --seed 3", f"digits/pixelvae --seed 3 {words}"):
        train.run(line.split())
    assert [(options["resume"], options["seed"]) for options in called] == [(resume, 3)] * 2


def test_the_shipped_configurations_are_listed(capsys):
    train.run(["--list"])
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines() if line.startswith("  ")] == list(shipped())
    assert "PixelVAE on scikit-learn's 8x8 digits" in listed


def test_a_run_is_started_resumed_and_left_alone_when_it_is_finished(config, tmp_path, monkeypatch):
    out, given, run = tmp_path / "run", [], train.run
    monkeypatch.setattr(train, "run", lambda arguments: (given.append(arguments), run(arguments)))
    train.run_to_end(config, out, 2, "cpu", "--train.learning_rate=0.002")
    assert load_progress(out / "last").step == 2
    assert load_config(out / "last")["train"]["learning_rate"] == 0.002
    train.run_to_end(config, out, 2, "cpu")
    assert len(given) == 1
    with pytest.raises(ValueError, match="holds a run of 2 steps, wanted 4"):
        train.run_to_end(config, out, 4, "cpu")
    train.run_or_resume(config, out, "--train.steps=4", "--device=cpu")
    assert load_progress(out / "last").step == 4
    assert [("--resume=true" in arguments) for arguments in given] == [False, True]
