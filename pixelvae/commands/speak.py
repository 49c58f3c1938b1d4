"""Draw sounds from a trained model: ``pixelvae speak runs/spoken_digits/wavenet/best``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pixelvae.checkpoint import load
from pixelvae.commands.checkpoints import (
    DataFactory,
    check_num,
    device_of,
    open_data,
    origin,
    run_folder,
    varied_examples,
)
from pixelvae.commands.trust import trusted
from pixelvae.data import ABSENT, AudioDataSet, SpokenDigits
from pixelvae.data.labels import cycled_labels
from pixelvae.data.splits import SplitName
from pixelvae.decoders.base import StepperKind
from pixelvae.distributed import connect
from pixelvae.generation import reconstruct, sample
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import save_picture
from pixelvae.reporting.sounds import DECIBELS, save_wav, sound_grid, waves

COLUMNS = 4  # samples in a row of the picture


def main(
    checkpoint: Path,
    out: Path | None = None,
    num_sounds: int = 8,
    num_draws: int = 3,
    split: SplitName = "test",
    temperature: float = 1.0,
    data: DataFactory | None = None,
    seed: int = 0,
    stepper: StepperKind = "auto",
    device: str = "auto",
    trust: str | None = None,
) -> None:
    """Write samples and, of a model with latents, reconstructions as wav files, and a picture of each.

    Writes sample_N.wav, samples.png and samples.safetensors (x, y); reconstruction_N_original.wav,
    reconstruction_N_draw_D.wav, reconstructions.png and reconstructions.safetensors (x, draws, y).

    Args:
        checkpoint: A checkpoint folder of a model of sounds, or a run, whose best checkpoint is taken.
        out: Folder for all files; RUN/sounds by default.
        num_sounds: Number of samples, the labels in turn; and of sounds that are reconstructed, the first of the split.
        num_draws: Reconstructions of each sound, all from the same latents.
        split: test, validation or train.
        temperature: 1 samples the model, less is more probable, 0 takes the most probable level every time.
        data: Another data set in place of the training data, such as FashionMNIST with its options; or only some
            options, such as --data.root FOLDER for data that moved. Options that are not given are the training data's.
        seed: Sample i depends on seed + i alone, draw d of sound i on seed + d * num_sounds + i.
        stepper: How the decoder goes from sample to sample: auto takes the fastest there is, full the slow oracle.
        device: cpu, cuda, cuda:1, mps ...; auto is the accelerator, or the CPU where there is none.
        trust: Modules, separated by commas, whose classes the checkpoint may name, such as a decoder of your own.
    """
    if num_sounds < 1 or num_draws < 1:
        raise ValueError(f"num_sounds={num_sounds}, num_draws={num_draws}; wanted at least 1")
    model = load(checkpoint, device=connect(device).device, classes=trusted(trust))
    if len(model.spec.sites) != 1:
        raise ValueError(f"{checkpoint} is not a model of sounds; pixelvae sample draws pictures")
    sounds = open_data(checkpoint, model, data, trust)
    assert isinstance(sounds, AudioDataSet)  # its spec is the model's
    check_num(sounds, split, num_sounds)
    out = out or run_folder(checkpoint) / "sounds"
    how: dict[str, Any] = {"temperature": temperature, "seed": seed, "stepper": stepper}
    weights = origin(checkpoint, f"temperature {temperature:g}", f"seed {seed}")
    caption = f"{weights} Spectrograms: {DECIBELS} dB from black to the loudest."
    write_samples(model, sounds, num_sounds, how, out, caption)
    if model.has_latents:
        write_reconstructions(model, sounds, split, num_sounds, num_draws, how, out, caption)
    print(f"Sounds and pictures: {out}")


def write_samples(
    model: GenerativeModel, data: AudioDataSet, num: int, how: dict[str, Any], out: Path, caption: str
) -> None:
    """x ~ p(x | y), the labels in turn."""
    y = cycled_labels(model.spec.num_classes, num, device_of(model)) if model.spec.num_classes else None
    x = sample(model, num, y=y, progress=True, **how)
    sounds = waves(x, data.spec.levels)
    for i, wave in enumerate(sounds):
        save_wav(out / f"sample_{i}.wav", wave, data.rate)
    rows = [sounds[i : i + COLUMNS] for i in range(0, num, COLUMNS)]
    names = [] if y is None else names_of(data, y)
    spoken = f"Asked for, in rows: {', '.join(names)}. " if names else ""
    figure = sound_grid(
        rows, rate=data.rate, title=f"Samples of {type(model.decoder).__name__}", caption=spoken + caption
    )
    tensors = {"x": x.to(torch.int16)} | ({} if y is None else {"y": y})
    save_picture(out / "samples.png", figure, tensors, how)


def write_reconstructions(
    model: GenerativeModel,
    data: AudioDataSet,
    split: SplitName,
    num: int,
    num_draws: int,
    how: dict[str, Any],
    out: Path,
    caption: str,
) -> None:
    """x' ~ p(x' | h), h = E[q(h|x)], of some sounds of a split; as long as the sounds."""
    x, y = varied_examples(data, split, num, model)
    draws = reconstruct(model, x, y=y, num_draws=num_draws, progress=True, **how)
    draws = draws.where(x != ABSENT, ABSENT)  # (D, B, 1, T)
    originals, drawn = waves(x, data.spec.levels), [waves(draw, data.spec.levels) for draw in draws]
    for i, original in enumerate(originals):
        save_wav(out / f"reconstruction_{i}_original.wav", original, data.rate)
        for d in range(num_draws):
            save_wav(out / f"reconstruction_{i}_draw_{d}.wav", drawn[d][i], data.rate)
    figure = sound_grid(
        [[original, *(draw[i] for draw in drawn)] for i, original in enumerate(originals)],
        rate=data.rate,
        title=f"Reconstructions of {split} sounds",
        caption="All draws of a row have the latents h = E[q(h|x)] of its original; they differ in what h does not "
        f"determine{'; the labels are given' if model.spec.num_classes else ''}. {caption}",
        row_labels=names_of(data, y),
        column_labels=["original", *(f"draw {d + 1}" for d in range(num_draws))],
    )
    tensors = {"x": x.to(torch.int16), "draws": draws.to(torch.int16), "y": y}
    save_picture(out / "reconstructions.png", figure, tensors, how | {"split": split})


def names_of(data: AudioDataSet, y: Tensor) -> list[str]:
    """A name for each sound: digit and speaker, or the numbers of its classes. y: (B, L)."""
    if isinstance(data, SpokenDigits):
        return [f"{digit} {data.speakers[speaker]}" for digit, speaker in y.tolist()]
    return [" ".join(map(str, labels)) for labels in y.tolist()]
