"""A training run in TensorBoard: curves, latents, pictures, sounds, options, metrics."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from pixelvae.data import ABSENT, AudioDataSet, BatchKey, DataSet
from pixelvae.data.labels import cycled_labels
from pixelvae.data.splits import spread_over_classes
from pixelvae.evaluation.bounds import Bounds, bits_per_dim
from pixelvae.evaluation.information import Health
from pixelvae.generation import decode, generators
from pixelvae.latents.paths import spherical_path, switch_half_way
from pixelvae.models.base import GenerativeModel
from pixelvae.reporting.figures import Group, image_grid, interpolations, label_texts, reconstructions, render
from pixelvae.reporting.hyperparameters import write_hyperparameters, write_metrics
from pixelvae.reporting.sounds import sound_grid, waves
from pixelvae.training.loop import Observer
from pixelvae.training.trainer import StepRecord

USED_NATS = 0.01
"""Minimum KL of a latent that counts as used. (Active units are defined by variance instead.)"""

NUM_SOUNDS = 4
"""Sounds that are sampled, and sounds that are reconstructed, at each validation."""

NUM_PATHS = 2
"""Interpolations in a picture."""


class _Drawing(NamedTuple):
    """The input of the decoder for one picture. h: (B, D) or None, y: (B, L), one generator for each image."""

    h: Tensor | None
    y: Tensor
    sources: list[torch.Generator]


class TensorBoardObserver(Observer):
    """Write the curves, pictures and configuration of a run into its folder, for ``tensorboard --logdir``.

    Every validation uses the same images, latents and random numbers, so that pictures differ by the model only. All
    pictures of one validation are drawn in a single walk. Sounds are shown as waveforms and spectrograms, and can be
    played.

    Args:
        folder: The folder of the run.
        data: Its validation images are shown.
        config: The resolved configuration, shown as text and among the hyperparameters.
        scalars_every: Steps between the points of the training curves.
        pictures_every: Validations between pictures, 0 for none.
        num_images: Images that are reconstructed, of different classes; at most those that there are.
        num_draws: Reconstructions of each.
        num_steps: Points of an interpolation.
        seed: Seed of the random numbers of the pictures.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        folder: Path,
        data: DataSet,
        config: dict[str, Any],
        *,
        scalars_every: int = 20,
        pictures_every: int = 1,
        num_images: int = 8,
        num_draws: int = 2,
        num_steps: int = 8,
        seed: int = 0,
    ) -> None:
        if scalars_every < 1 or pictures_every < 0 or num_images < 1 or num_draws < 1 or num_steps < 2:
            raise ValueError(
                f"scalars_every={scalars_every}, pictures_every={pictures_every}, num_images={num_images}, "
                f"num_draws={num_draws}, num_steps={num_steps}; wanted at least 1, 0, 1, 1 and 2"
            )
        self.folder, self.config, self.seed = folder, config, seed
        self.scalars_every, self.pictures_every = scalars_every, pictures_every
        self.num_draws, self.num_steps = num_draws, num_steps
        self.x, self.y = data.validation[BatchKey(spread_over_classes(data.validation, num_images), epoch=0)]
        self.num_classes, self.class_names = data.spec.num_classes, data.class_names
        self.rate = data.rate if isinstance(data, AudioDataSet) else None  # samples per second of a sound
        self.validations = 0
        self.step, self.opened = 0, False

    @cached_property
    def writer(self) -> SummaryWriter:
        """The event file, made at its first use; events of steps after the current one are purged."""
        self.opened = True
        writer = SummaryWriter(self.folder, purge_step=self.step + 1)
        text = textwrap.indent(yaml.safe_dump(self.config, sort_keys=False), "    ")
        writer.add_text("config", text, self.step)
        write_hyperparameters(self.folder, self.config, step=self.step)
        return writer

    def on_start(self, step: int) -> None:
        """Purge events that a killed run wrote after the step from which this one starts or resumes."""
        self.step = step
        self.writer.flush()

    def on_step(self, record: StepRecord) -> None:
        """Add a point to every training curve, every ``scalars_every`` steps."""
        self.step = record.step
        if record.step % self.scalars_every:
            return
        kl = float(record.kl_groups.sum())
        self._scalars(
            "train",
            elbo_nats=record.log_px - kl,
            log_px_nats=record.log_px,
            kl_nats=kl,
            beta=record.beta,
            learning_rate=record.learning_rate,
            grad_norm=record.grad_norm,
            images_per_second=record.images_per_second,
        )

    def on_health(self, step: int, health: Health) -> None:
        """Add the mutual information of x and h, its cap, active units, and the information of each latent."""
        self.step = step
        nats, cap_nats, _ = health.mutual_information
        self._scalars(
            "validation",
            mutual_information_nats=nats,
            mutual_information_cap_nats=cap_nats,
            active_units=health.num_active,
        )
        if len(health.information):
            self.writer.add_histogram("validation/information_per_latent_nats", health.information, step)

    @torch.inference_mode()
    def on_validation(self, step: int, model: GenerativeModel, bounds: Bounds) -> None:
        """Add the validation bound, the KL of every latent, and pictures."""
        self.step = step
        self._scalars(
            "validation",
            elbo_nats=bounds.elbo,
            log_px_nats=bounds.log_px,
            kl_nats=bounds.kl,
            bits_per_dim=bits_per_dim(bounds.elbo, bounds.num_dims),
        )
        if 0 < len(bounds.kl_groups) == model.latent_dim:  # not where the prior's KL is a single number
            self._scalars("validation", latents_above_hundredth_nat=int((bounds.kl_groups > USED_NATS).sum()))
            self.writer.add_histogram("validation/kl_per_latent_nats", bounds.kl_groups, step)
        if self.pictures_every and self.validations % self.pictures_every == 0:
            figures = self.pictures(model) if self.rate is None else self.sounds(model, self.rate)
            for name, figure in figures.items():
                # Beside the validation curves: groups are in alphabetical order, and training comes first.
                self.writer.add_image(f"validation/{name}", render(figure), step, dataformats="HWC")
        self.validations += 1
        self.writer.flush()

    def finish(self, metrics: Mapping[str, Any]) -> None:
        """Close, and add the run with its final metrics to the table of hyperparameters."""
        self.close()
        write_metrics(self.folder, self.config, metrics, self.step)

    def close(self) -> None:
        """Flush and close the event file."""
        if self.opened:
            with suppress(OSError):  # training has warned of it
                self.writer.close()

    def pictures(self, model: GenerativeModel) -> dict[str, Figure]:
        """Samples and, of a PixelVAE, reconstructions and interpolations, all drawn in one walk."""
        x, y = (tensor.to(model.device) for tensor in (self.x, self.y))
        columns = min(self.num_classes[0], 10) if model.spec.num_classes else 10
        drawings = [self._samples(model, columns, x.device)]
        if model.has_latents:
            drawings += [self._reconstructions(model, x, y), self._interpolations(model, x, y)]
        return self._figures(model, columns, _draw(model, drawings))

    def sounds(self, model: GenerativeModel, rate: int) -> dict[str, Figure]:
        """Samples and, of a PixelVAE, reconstructions, for the audio tab and as pictures, all drawn in one walk."""
        x, y = (tensor[:NUM_SOUNDS].to(model.device) for tensor in (self.x, self.y))
        drawings = [self._samples(model, NUM_SOUNDS // 2, x.device)]
        if model.has_latents:
            drawings.append(self._reconstructions(model, x, y))
        drawn = _draw(model, drawings)
        rows = {"samples": [waves(drawn[0], model.spec.levels)]}
        if model.has_latents:
            draws = drawn[1].unflatten(0, (self.num_draws, -1)).where(x != ABSENT, ABSENT)
            rows["reconstructions"] = [waves(part, model.spec.levels) for part in (x, *draws)]
        for name, sounds in rows.items():
            for i, row in enumerate(sounds):
                for j, wave in enumerate(row):
                    self.writer.add_audio(f"{name}/{j}/{i}", wave[None], self.step, rate)
        titles = {"samples": "Samples", "reconstructions": "Validation sounds, and below each its reconstructions"}
        return {name: sound_grid(sounds, rate=rate, title=titles[name]) for name, sounds in rows.items()}

    def _samples(self, model: GenerativeModel, columns: int, device: torch.device) -> _Drawing:
        """Two rows from the prior; with labels, each column is a class."""
        sources = generators(self.seed, 2 * columns)
        y = cycled_labels(self.num_classes, columns, device).repeat(2, 1)
        return _Drawing(model.draw_latents(sources), y, sources)

    def _reconstructions(self, model: GenerativeModel, x: Tensor, y: Tensor) -> _Drawing:
        """Several draws from the mean latents of every image."""
        h = model.encode(x, y).mean.repeat(self.num_draws, 1)
        return _Drawing(h, y.repeat(self.num_draws, 1), generators(self.seed, len(h)))

    def _interpolations(self, model: GenerativeModel, x: Tensor, y: Tensor) -> _Drawing:
        """From each of the first images to one of the next; the label switches half-way."""
        start, end = _ends(model.encode(x, y).mean)
        left, right = _ends(y)
        path = spherical_path(start, end, self.num_steps)  # (S, 2, D)
        labels = switch_half_way(left, right, self.num_steps)  # (S, 2, L)
        sources = [g for _ in range(self.num_steps) for g in generators(self.seed, len(start))]
        return _Drawing(path.flatten(0, 1), labels.flatten(0, 1), sources)

    def _figures(self, model: GenerativeModel, columns: int, drawn: tuple[Tensor, ...]) -> dict[str, Figure]:
        levels, given = model.spec.levels, bool(model.spec.num_classes)
        figures = {
            "samples": image_grid(
                drawn[0].split(columns),
                levels=levels,
                title="Samples",
                column_labels=self.class_names[0][:columns] if given else (),
                groups=[Group("class", columns)] if given else (),
            )
        }
        if model.has_latents:
            figures["reconstructions"] = reconstructions(
                self.x,
                drawn[1].unflatten(0, (self.num_draws, -1)),
                levels=levels,
                title="Reconstructions of validation images",
                labels=label_texts(self.y, self.class_names),
            )
            start, end = _ends(self.x)
            figures["interpolations"] = interpolations(
                start,
                drawn[2].unflatten(0, (self.num_steps, -1)),
                end,
                levels=levels,
                title="Interpolations between validation images",
                label_switches=given,
            )
        return figures

    def _scalars(self, group: str, **values: float) -> None:
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, self.step)


def _ends(examples: Tensor) -> tuple[Tensor, Tensor]:
    """Start and end of up to ``NUM_PATHS`` interpolations; few examples are reused. (N, ...) -> two of (P, ...)."""
    some = examples[: 2 * NUM_PATHS]
    paths = (len(some) + 1) // 2
    return some[:paths], some[-paths:]


def _draw(model: GenerativeModel, drawings: list[_Drawing]) -> tuple[Tensor, ...]:
    """All drawings in one walk."""
    latents = [drawing.h for drawing in drawings if drawing.h is not None]
    drawn = decode(
        model,
        torch.cat(latents) if latents else None,
        torch.cat([drawing.y for drawing in drawings]),
        [source for drawing in drawings for source in drawing.sources],
    )
    return drawn.split([len(drawing.y) for drawing in drawings])
