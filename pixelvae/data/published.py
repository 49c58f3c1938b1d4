"""Published data sets of pictures, downloaded and read by torchvision."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pixelvae.data.idx import CURE, read_pair
from pixelvae.data.images import ImageSplit, in_memory
from pixelvae.data.splits import DataSet, SplitName
from pixelvae.data.transforms import Binarisation, Quantiser

Part = Literal["train", "test"]


class PublishedImages(DataSet):
    """Abstract base of the data sets that torchvision reads.

    Validation is the end of the published training set; the test set is the published one.

    Args:
        root: Folder of all data sets, with a subfolder for each.
        levels: K, from 2 to 256. No default, because bits/dim are not comparable between different K.
        binarisation: With two levels only: ``dynamic`` (the default) or ``threshold``, see `Quantiser`.
        download: Download missing files.
        seed: Seed of the draws of binary pixels.

    Raises:
        ValueError: If an option is out of range, or a file is damaged.
        FileNotFoundError: If a file is missing and `download` is false.
    """

    files: ClassVar[tuple[str, ...]]
    """Files that torchvision reads, relative to `root`."""

    validation_share: ClassVar[int]
    """One in so many of the training examples is used for validation."""

    names: ClassVar[tuple[str, ...]] = tuple("0123456789")
    """Names of the classes."""

    def __init__(
        self,
        root: str | Path,
        levels: int,
        binarisation: Binarisation | None = None,
        download: bool = False,
        seed: int = 0,
    ) -> None:
        quantise = Quantiser(levels, binarisation, seed=seed)
        folder = Path(root).expanduser()
        if not download:
            self._require_files(folder)
        grey, labels = self._read("train", folder, download)
        num_train = len(grey) - len(grey) // self.validation_share
        if not 1 <= num_train < len(grey):
            raise ValueError(
                f"{type(self).__name__}: {len(grey)} training images in {folder.absolute()}; want at least "
                f"{self.validation_share}: {CURE}"
            )

        def split(name: SplitName, grey: Tensor, labels: Tensor) -> ImageSplit:
            return in_memory(name, grey, labels, quantise, class_names=self.names)

        super().__init__(
            split("train", grey[:num_train], labels[:num_train]),
            split("validation", grey[num_train:], labels[num_train:]),
            split("test", *self._read("test", folder, download)),
        )

    @classmethod
    def _missing(cls, root: Path) -> list[str]:
        return [file for file in cls.files if not (root / file).is_file()]

    @classmethod
    def _require_files(cls, root: Path) -> None:
        if missing := cls._missing(root):
            raise FileNotFoundError(
                f"{cls.__name__}: no {', '.join(missing)} in {root.absolute()}: set `root` to the folder that "
                "holds them, or `download: true` to fetch them"
            )

    @classmethod
    @abstractmethod
    def _read(cls, part: Part, root: Path, download: bool) -> tuple[Tensor, Tensor]:
        """Grey values (N, C, H, W) uint8 and labels (N,) of the publisher's training or test set."""


@contextmanager
def _named_errors(name: str, root: Path) -> Iterator[None]:
    """Add the data set and its folder to errors of torchvision's readers and downloads."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{name}: the files in {root.absolute()} cannot be read ({reason}): {CURE}") from error


class IdxImages(PublishedImages):
    """Abstract base of MNIST and the data sets in its format: idx files of 28x28 grey pixels."""

    validation_share = 6

    @classmethod
    def _read(cls, part: Part, root: Path, download: bool) -> tuple[Tensor, Tensor]:
        if download and cls._missing(root):
            from torchvision import datasets

            with _named_errors(cls.__name__, root):
                getattr(datasets, cls.__name__)(root, train=part == "train", download=True)
        images, labels = cls.files[:2] if part == "train" else cls.files[2:]
        return read_pair(root / images, root / labels, (28, 28), num_classes=10)


def _idx_files(name: str) -> tuple[str, ...]:
    parts, kinds = ("train", "t10k"), ("images-idx3", "labels-idx1")
    return tuple(f"{name}/raw/{part}-{kind}-ubyte" for part in parts for kind in kinds)


class MNIST(IdxImages):
    """70,000 handwritten digits, 28x28 grey pixels: 50,000 / 10,000 / 10,000.

    Reference:
        Gradient-based learning applied to document recognition (LeCun et al., 1998).
        https://doi.org/10.1109/5.726791

    Example:
        >>> MNIST(root="no/such/folder", levels=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: MNIST: no MNIST/raw/train-images-idx3-ubyte, ...
    """

    files = _idx_files("MNIST")


class FashionMNIST(IdxImages):
    """70,000 garments of ten kinds, 28x28 grey pixels: 50,000 / 10,000 / 10,000.

    Reference:
        Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao et al., 2017).
        https://arxiv.org/abs/1708.07747

    Example:
        >>> FashionMNIST(root="no/such/folder", levels=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: FashionMNIST: no FashionMNIST/raw/train-images-idx3-ubyte, ...
    """

    files = _idx_files("FashionMNIST")
    names = (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    )  # fmt: skip


class KMNIST(IdxImages):
    """70,000 cursive Japanese characters of ten kinds, 28x28 grey pixels: 50,000 / 10,000 / 10,000.

    Reference:
        Deep Learning for Classical Japanese Literature (Clanuwat et al., 2018).
        https://arxiv.org/abs/1812.01718

    Example:
        >>> KMNIST(root="no/such/folder", levels=2)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: KMNIST: no KMNIST/raw/train-images-idx3-ubyte, ...
    """

    files = _idx_files("KMNIST")
    names = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


class CIFAR10(PublishedImages):
    """60,000 photographs of ten kinds, 32x32 RGB pixels: 45,000 / 5,000 / 10,000.

    Reference:
        Learning Multiple Layers of Features from Tiny Images (Krizhevsky, 2009).
        https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf

    Example:
        >>> CIFAR10(root="no/such/folder", levels=256)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: CIFAR10: no cifar-10-batches-py/data_batch_1, ...
    """

    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

    files = tuple(
        f"cifar-10-batches-py/{file}"
        for file in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")
    )
    validation_share = 10

    @classmethod
    def _read(cls, part: Part, root: Path, download: bool) -> tuple[Tensor, Tensor]:
        from torchvision import datasets

        with warnings.catch_warnings(), _named_errors(cls.__name__, root):
            # The files were pickled in 2009, when numpy described dtypes in a way that it now calls deprecated.
            warnings.filterwarnings("ignore", message=r"dtype\(\): align should be passed as Python or NumPy boolean")
            photographs = datasets.CIFAR10(root, train=part == "train", download=download)
        grey = torch.from_numpy(photographs.data).permute(0, 3, 1, 2)  # (N, H, W, C) -> (N, C, H, W)
        return grey.contiguous(), torch.tensor(photographs.targets)


class SVHN(PublishedImages):
    """99,289 house numbers cropped to a digit, 32x32 RGB pixels: 65,932 / 7,325 / 26,032.

    Reference:
        Reading Digits in Natural Images with Unsupervised Feature Learning (Netzer et al., 2011).
        http://ufldl.stanford.edu/housenumbers/nips2011_housenumbers.pdf

    Example:
        >>> SVHN(root="no/such/folder", levels=256)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        FileNotFoundError: SVHN: no train_32x32.mat, test_32x32.mat in ...
    """

    files = ("train_32x32.mat", "test_32x32.mat")
    validation_share = 10

    @classmethod
    def _read(cls, part: Part, root: Path, download: bool) -> tuple[Tensor, Tensor]:
        from torchvision import datasets

        with _named_errors(cls.__name__, root):
            numbers = datasets.SVHN(root, split=part, download=download)
        return torch.from_numpy(numbers.data).contiguous(), torch.from_numpy(numbers.labels)
