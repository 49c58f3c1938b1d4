"""A checkpoint restores the model and runs no code; errors explain defects."""

import json
import os
import stat

import pytest
import torch
import yaml

from pixelvae.checkpoint import (
    CheckpointError,
    Progress,
    load,
    load_data,
    load_progress,
    load_training,
    load_weights,
    save_model,
)
from pixelvae.storage import write_atomically
from small_runs import CONFIG, small_fit, small_model


@pytest.fixture
def folder(tmp_path):
    save_model(tmp_path / "best", small_model(), CONFIG, Progress(step=3, images_seen=24, train_seconds=1.5, seed=7))
    return tmp_path / "best"


def rewritten(folder, change):
    """The same checkpoint with a changed configuration."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_the_loaded_model_is_the_saved_one(folder):
    saved, loaded = small_model().eval(), load(folder)
    x, y, noise = torch.randint(0, 2, (4, 1, 8, 8)), torch.zeros(4, 1, dtype=torch.long), torch.randn(4, 3)
    for a, b in zip(saved(x, y, noise=noise), loaded(x, y, noise=noise), strict=True):
        torch.testing.assert_close(a, b)  # not bit for bit: the loaded model is channels_last
    for a, b in zip(saved.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not loaded.training
    assert load_progress(folder) == Progress(3, 24, 1.5, 7)


@pytest.mark.parametrize("name", ["model.safetensors", "config.yaml"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        load(folder)


def test_a_truncated_file_is_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        load(folder)


@pytest.mark.parametrize(("metadata", "message"), [({}, "not written by pixelvae"), ({"version": "99"}, "update it")])
def test_a_foreign_or_newer_file_is_told_apart(folder, metadata, message):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    save_file(load_file(path), path, {"format": "pixelvae", **metadata} if metadata else {})
    with pytest.raises(CheckpointError, match=message):
        load(folder)


@pytest.mark.parametrize("name", ["os.system", "pixelvae.checkpoint.write_atomically", "antigravity.Fly", "PixelVAE"])
def test_a_class_that_is_not_one_of_the_parts_is_refused_before_it_is_imported(folder, name):
    import sys

    def change(config):
        config["decoder"]["class_path"] = name

    with pytest.raises(CheckpointError, match="none of pixelvae's own"):
        load(rewritten(folder, change))
    assert "antigravity" not in sys.modules


def test_arguments_that_the_class_does_not_have_are_refused(folder):
    def change(config):
        config["decoder"]["init_args"]["dilation"] = 2

    with pytest.raises(CheckpointError, match="dilation"):
        load(rewritten(folder, change))


def test_the_message_names_the_file_and_a_data_set_is_one_of_the_package(folder):
    def change(config):
        config["data"]["class_path"] = "GatedPixelCNN"

    assert type(load_data(folder)).__name__ == "Digits"
    with pytest.raises(CheckpointError, match=r"best/config.yaml: data: class_path 'GatedPixelCNN' is none of"):
        load_data(rewritten(folder, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["decoder"]["init_args"].update(num_layers=3), r"is missing; \d+ more differ"),
        (lambda config: config.update(prior={"class_path": "FlowPrior"}), r"prior\.\S+ is missing; \d+ more differ"),
        (lambda config: config.update(encoder=None, prior=None, latent_dim=0), r"has shape \(.*\), in the model \("),
    ],
    ids=["other layers", "missing", "other shapes"],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(folder, change, message):
    with pytest.raises(CheckpointError, match=f"do not fit config.yaml: .*{message}"):
        load(rewritten(folder, change))


def test_weights_that_the_model_does_not_have_are_refused(tmp_path):
    model = small_model(CONFIG | {"prior": {"class_path": "FlowPrior"}})
    save_model(tmp_path, model, CONFIG, Progress())
    with pytest.raises(CheckpointError, match=r"config.yaml: prior\.flow\.\S+ is not in the model; \d+ more"):
        load(tmp_path)
    other = small_model(seed=1)
    before = [parameter.clone() for parameter in other.parameters()]
    with pytest.raises(CheckpointError, match=r"prior\.flow\.\S+ is not in the model and \d+ more"):
        load_weights(other, tmp_path)
    for weight, old in zip(other.parameters(), before, strict=True):
        assert torch.equal(weight, old)


def test_training_state_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "evil"),)

    torch.save({"step": 1}, tmp_path / "training.pt")
    assert load_training(tmp_path, torch.device("cpu")) == {"step": 1}
    torch.save({"step": Evil()}, tmp_path / "training.pt")
    with pytest.raises(CheckpointError, match="not a training state"):
        load_training(tmp_path, torch.device("cpu"))
    assert not (tmp_path / "evil").exists()


def test_a_killed_write_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_written_file_can_be_read_by_others_as_the_umask_says(tmp_path):
    umask = os.umask(0o022)
    write_atomically(tmp_path / "file", b"")
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_the_metadata_are_plain_json(folder):
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["spec"]) == {"shape": [1, 8, 8], "levels": 2, "num_classes": [10]}


def test_the_configuration_is_kept_with_the_checkpoint(tmp_path):
    small_fit(tmp_path, steps=1)
    kept = yaml.safe_load((tmp_path / "last/config.yaml").read_text())
    assert kept.items() >= CONFIG.items()
    assert kept["train"]["batch_size"] == 8  # the argument of fit overrides the caller's configuration
    assert kept["objective"]["beta"] == 1.0
