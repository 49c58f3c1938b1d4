"""Every flag of pixelvae speak has an effect on the sounds."""

import pytest
import torch
from safetensors.torch import load_file

import speech
from pixelvae.checkpoint import Progress, save_model
from pixelvae.commands import speak
from pixelvae.data import BatchKey
from pixelvae.data.splits import spread_over_classes


@pytest.fixture
def spoken(tmp_path):
    """A function: the tensors of samples and of reconstructions."""
    root = speech.write_digits(tmp_path / "digits")
    configuration = speech.config(root)
    model = speech.model(configuration, root)
    for parameter in model.parameters():
        parameter.data.mul_(3)  # so that latents change what is drawn
    save_model(tmp_path / "best", model, configuration, Progress(step=1))

    def speak_with(**options):
        folder = tmp_path / "_".join(map(str, options.values()))
        speak.main(tmp_path / "best", out=folder, num_sounds=2, num_draws=2, device="cpu", **options)
        return load_file(folder / "samples.safetensors"), load_file(folder / "reconstructions.safetensors")

    return speak_with, speech.data(root)


def test_split_seed_and_temperature_change_the_sounds(spoken):
    speak_with, data = spoken
    for split in ("validation", "test"):
        examples = getattr(data, split)
        _, again = speak_with(split=split)
        assert torch.equal(again["x"].long(), examples[BatchKey(spread_over_classes(examples, 2), epoch=0)][0])
    first, other, cold = speak_with(seed=1), speak_with(seed=2), speak_with(temperature=0.0)
    assert not torch.equal(first[0]["x"], other[0]["x"])
    assert not torch.equal(first[1]["draws"], other[1]["draws"])
    assert torch.equal(first[1]["x"], other[1]["x"])
    assert torch.equal(cold[1]["draws"][0], cold[1]["draws"][1])
    assert not torch.equal(first[1]["draws"][0], first[1]["draws"][1])
