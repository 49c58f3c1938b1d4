"""Class agreement: how often a classifier of real images assigns the original's class to a reconstruction."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pixelvae.boundary import require_seed, require_split
from pixelvae.data.spec import DataSpec, levels_to_signal
from pixelvae.data.splits import Batches, BatchKey, Split, sequential, spread
from pixelvae.evaluation.bounds import default_batch_size
from pixelvae.generation import reconstruct
from pixelvae.models.base import GenerativeModel
from pixelvae.progress import tqdm
from pixelvae.ranges import MAX_COUNT, require_count


class Classifier(nn.Module):
    """Two 3x3 convolutions, each with a pooling by two, and two linear layers.

    Args:
        spec: Of the data; its first kind of label is classified.
        channels: Width of the first convolution; the second is twice, the hidden layer four times as wide.

    Shape:
        x: (B, C, H, W) levels.  Returns (B, number of classes) logits.

    Raises:
        ValueError: If the data are not images, or have no labels.
    """

    def __init__(self, spec: DataSpec, *, channels: int = 32) -> None:
        super().__init__()
        if len(spec.sites) != 2 or not spec.num_classes:
            raise ValueError(f"shape {spec.shape} with num_classes={spec.num_classes}; wanted images with labels")
        self.spec = spec
        height, width = (size // 4 for size in spec.sites)
        self.layers = nn.Sequential(
            nn.Conv2d(spec.channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.25),
            nn.Linear(2 * channels * height * width, 4 * channels),
            nn.ReLU(),
            nn.Linear(4 * channels, spec.num_classes[0]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) levels -> (B, number of classes) logits."""
        return self.layers(levels_to_signal(x, self.spec.levels, torch.float32))


class Agreement(NamedTuple):
    """Shares of images to which a classifier assigns the class of the original.

    Attributes:
        reconstructions: Share of the draws x' ~ p(x'|h), one for each image.
        originals: Share of the original images, a ceiling for reconstructions.
        num_images: Number of images.
    """

    reconstructions: float
    originals: float
    num_images: int


def train_classifier(
    train: Split, *, seed: int, device: torch.device, steps: int = 1500, batch_size: int = 64, progress: bool = False
) -> Classifier:
    """Train a classifier of real images by Adam, with linear decay of the learning rate; return it in evaluation mode.

    Raises:
        ValueError: If the data are not images, or have no labels.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # initial weights and dropout: torch.nn takes no generator
        classifier = Classifier(train.spec).to(device).train()
        optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
        keys = islice(Batches(len(train), min(batch_size, len(train)), seed=seed), steps)
        for step, key in enumerate(
            tqdm(keys, total=steps, desc="classifier", unit="step", disable=not progress, leave=False)
        ):
            x, y = (tensor.to(device) for tensor in train[key])
            optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
            optimizer.zero_grad()
            F.cross_entropy(classifier(x), y[:, 0]).backward()
            optimizer.step()
    return classifier.eval()


@torch.inference_mode()
def accuracy(classifier: Classifier, split: Split, *, device: torch.device) -> float:
    """The share of a split that the classifier assigns to its class.

    Raises:
        ValueError: If the data of the split do not match those of the classifier.
    """
    require_split(split, classifier.spec)
    right = 0
    for key in sequential(split, default_batch_size(split)):
        x, y = (tensor.to(device) for tensor in split[key])
        right += int((classifier(x).argmax(1) == y[:, 0]).sum())
    return right / len(split)


@torch.inference_mode()
def reconstruction_agreement(
    model: GenerativeModel,
    classifier: Classifier,
    split: Split,
    *,
    seed: int,
    device: torch.device,
    max_images: int = 1000,
    progress: bool = False,
) -> Agreement:
    """How often the classifier assigns the original's class to a reconstruction.

    For a class-conditional model this does not measure h, because the decoder is given the class.

    Args:
        model: A model with latents, on ``device``.
        classifier: A classifier of real images, see :func:`train_classifier`.
        split: Usually test.
        seed: Seed of the draws; that of the i-th image depends on seed + i alone.
        device: The device of the model.
        max_images: Number of images, spread over the split; one draw for each.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If the model has no latents, or the data of the split do not match the model and the classifier.
    """
    require_split(split, model.spec)
    require_split(split, classifier.spec)
    require_count("max_images", max_images, most=MAX_COUNT)
    require_seed(seed, len(split))
    indices = spread(len(split), max_images)
    size = default_batch_size(split)
    right = torch.zeros(2, dtype=torch.double)
    for begin in tqdm(range(0, len(indices), size), desc="draws", unit="batch", disable=not progress, leave=False):
        x, y = (tensor.to(device) for tensor in split[BatchKey(indices[begin : begin + size], epoch=0)])
        (drawn,) = reconstruct(model, x, y=y, seed=seed + begin)
        predicted = torch.stack([classifier(images).argmax(1) for images in (drawn, x)])  # (2, B)
        right += (predicted == y[:, 0]).sum(1).cpu()
    shares = (right / len(indices)).tolist()
    return Agreement(shares[0], shares[1], len(indices))
