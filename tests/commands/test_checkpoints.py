"""What commands share: loading, examples of a split, captions, pictures with their settings."""

import pytest
import torch

from pictures import written
from pixelvae.checkpoint import load
from pixelvae.commands import checkpoints as shared
from pixelvae.data import BatchKey, spread_over_classes
from pixelvae.reporting.figures import image_grid
from small_runs import small_data


def test_a_model_without_latents_is_refused_with_the_purpose(checkpoints):
    with pytest.raises(ValueError, match="no latents to interpolate; pixelvae sample draws"):
        shared.load_with_latents(checkpoints / "plain/best", "cpu", "interpolate")
    assert shared.load_with_latents(checkpoints / "vae/best", "cpu", "interpolate").latent_dim == 3


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
    assert shared.origin(best, "seed 5") == f"{best}, step 1,234, seed 5."
    x = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    figure = image_grid([x], levels=2, title="t")
    shared.save_with_settings(best, tmp_path, "name", figure, {"x": x}, {"seed": 5}, content="one image")
    tensors, settings = written(tmp_path, "name")
    assert torch.equal(tensors["x"], x)
    assert settings == {"checkpoint": str(best), "seed": 5}
    said = f"one image: {tmp_path}/name.png; tensors beside it: name.safetensors\n"
    assert capsys.readouterr().out == said
