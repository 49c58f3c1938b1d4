"""A small run on made-up speech, as a user would configure it."""

import numpy as np
import torch
from scipy.io import wavfile

from pixelvae import SpokenDigits
from pixelvae.models.assembly import build

LENGTH, RATE = 40, 8000


def write_digits(root, digits=(0, 7), speakers=("ann", "bob"), takes=12, samples=20):
    """Tones of FSDD's layout, whose pitch is the digit's and whose loudness is the speaker's; takes grow longer."""
    (root / "recordings").mkdir(parents=True)
    for digit in digits:
        for loudness, speaker in enumerate(speakers, start=1):
            for take in range(takes):
                tone = np.sin(2 * np.pi * (digit + 1) * np.arange(samples + 2 * take) / 40) * 0.3 * loudness
                wave = (tone * 32767).astype(np.int16)
                wavfile.write(root / "recordings" / f"{digit}_{speaker}_{take}.wav", RATE, wave)
    return root


def config(root, *, latents=True, class_conditional=True):
    """A WaveNet alone, or as the decoder of a PixelVAE."""
    return {
        "data": {"class_path": "SpokenDigits", "init_args": {"root": str(root), "length": LENGTH, "levels": 16}},
        "likelihood": {"class_path": "Categorical"},
        "decoder": {
            "class_path": "WaveNet",
            "init_args": {"num_stacks": 1, "num_layers_per_stack": 3, "channels": 4, "head_channels": 8},
        },
        "encoder": {"class_path": "WaveEncoder", "init_args": {"channels": [4, 4]}} if latents else None,
        "prior": {"class_path": "StandardNormal"} if latents else None,
        "context": {"class_path": "TemporalContext", "init_args": {"channels": [4, 3], "stride": 4}}
        if latents
        else {"class_path": "VectorContext"},
        "latent_dim": 2 if latents else 0,
        "class_conditional": class_conditional,
    }


def data(root):
    return SpokenDigits(root, LENGTH, levels=16)


def model(configuration, root):
    """The model of the configuration with fixed weights."""
    torch.manual_seed(0)
    return build(configuration, data(root).spec)
