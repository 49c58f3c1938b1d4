"""What commands share: loading, examples of a split, captions, pictures with their settings."""

from functools import partial

import pytest
import torch

from pictures import written
from pixelvae import MNIST, Digits, MNIST5k
from pixelvae.checkpoint import Progress, load, save_model
from pixelvae.commands import checkpoints as shared
from pixelvae.data import BatchKey, spread_over_classes
from pixelvae.reporting.figures import image_grid
from small_runs import CONFIG, small_data


def test_a_model_without_latents_is_refused_with_the_purpose(checkpoints):
    with pytest.raises(ValueError, match="no latents to interpolate; pixelvae sample draws"):
        shared.load_with_latents(checkpoints / "plain/best", "cpu", "interpolate")
    assert shared.load_with_latents(checkpoints / "vae/best", "cpu", "interpolate").latent_dim == 3


def test_a_run_stands_for_its_best_checkpoint(tmp_path):
    """Or for its last one before any validation; a run has a config.yaml of its own beside its metrics."""
    with pytest.raises(ValueError, match="neither a checkpoint nor a run"):
        shared.find_checkpoint(tmp_path)
    for name in ("last", "best"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").touch()
        (tmp_path / "config.yaml").touch()
        assert shared.find_checkpoint(tmp_path) == tmp_path / name
        assert shared.find_checkpoint(tmp_path / name) == tmp_path / name
    with pytest.raises(ValueError, match="no such folder"):
        shared.find_checkpoint(tmp_path / "none")


def test_a_checkpoint_permits_no_download(checkpoints, tmp_path):
    config = CONFIG | {"data": {"class_path": "MNIST", "init_args": {"root": "none", "levels": 2, "download": True}}}
    save_model(tmp_path, load(checkpoints / "vae/best"), config, Progress())
    with pytest.raises(ValueError, match=r"MNIST: no .*--data.root FOLDER says where"):
        shared.open_data(tmp_path, load(tmp_path))


def test_other_data_have_to_fit(checkpoints):
    model = load(checkpoints / "vae/best")
    best = checkpoints / "vae/best"
    for data, message in (
        (partial(Digits, levels=3), r"shape \(1, 8, 8\) and 3 levels, the model \(1, 8, 8\) and 2"),
        (MNIST5k, r"shape \(1, 28, 28\) and 2 levels, the model"),
        (partial(MNIST, root="nowhere", levels=2), "--data.root FOLDER says where the data are now"),
    ):
        with pytest.raises(ValueError, match=message):
            shared.open_data(best, model, data)
    assert shared.open_data(best, model, small_data).spec == model.spec
    unlabelled = small_data()
    unlabelled.train.spec = unlabelled.spec._replace(num_classes=(4,))
    with pytest.raises(ValueError, match=r"labels of \(4,\) classes, the model is given labels of \(10,\)"):
        shared.open_data(best, model, lambda: unlabelled)
    assert shared.open_data(best, load(checkpoints / "unlabelled/best"), lambda: unlabelled) is unlabelled


def test_examples_are_of_different_classes(checkpoints):
    data, model = small_data(), load(checkpoints / "vae/best")
    x, y = shared.varied_examples(data, "validation", 10, model)
    assert sorted(y.flatten().tolist()) == list(range(10))
    expected = data.validation[BatchKey(spread_over_classes(data.validation, 10), epoch=0)]
    assert torch.equal(x, expected[0])
    assert torch.equal(y, expected[1])
    for num in (0, len(data.validation) + 1):
        with pytest.raises(
            ValueError, match=f"num_images={num}; the validation split has {len(data.validation)} images"
        ):
            shared.varied_examples(data, "validation", num, model)


def test_a_picture_is_written_with_its_checkpoint_and_settings(checkpoints, tmp_path, capsys):
    best = checkpoints / "vae/best"
    assert shared.origin(best, "seed 5") == "vae/best, step 1,234, seed 5.", "no absolute path"
    x = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    figure = image_grid([x], levels=2, title="t")
    shared.save_with_settings(best, tmp_path, "name", figure, {"x": x}, {"seed": 5}, content="one image")
    tensors, settings = written(tmp_path, "name")
    assert torch.equal(tensors["x"], x)
    assert settings == {"checkpoint": str(best), "seed": 5}
    said = f"one image: {tmp_path}/name.png; tensors beside it: name.safetensors\n"
    assert capsys.readouterr().out == said
