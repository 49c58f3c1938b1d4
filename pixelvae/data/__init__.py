"""Data sets of integer levels, their splits, and the order of batches."""

from collections.abc import Sequence

from pixelvae.data.audio import AudioDataSet, AudioFolder, SpokenDigits
from pixelvae.data.binarized import BinarizedMNIST
from pixelvae.data.folder import ImageFolder
from pixelvae.data.images import Digits, MNIST5k
from pixelvae.data.published import CIFAR10, KMNIST, MNIST, SVHN, FashionMNIST
from pixelvae.data.spec import ABSENT, DataSpec
from pixelvae.data.splits import Batches, BatchKey, DataSet, Split, sequential, spread, spread_over_classes
from pixelvae.data.tensors import TensorData

DATA_SETS: Sequence[type[DataSet]] = (
    AudioFolder, BinarizedMNIST, CIFAR10, Digits, FashionMNIST, ImageFolder, KMNIST, MNIST, MNIST5k, SpokenDigits, SVHN,
)  # fmt: skip
"""Classes that a configuration may choose for ``data``; not TensorData, whose tensors are not in a configuration."""

__all__ = [
    "ABSENT",
    "CIFAR10",
    "DATA_SETS",
    "KMNIST",
    "MNIST",
    "SVHN",
    "AudioDataSet",
    "AudioFolder",
    "BatchKey",
    "Batches",
    "BinarizedMNIST",
    "DataSet",
    "DataSpec",
    "Digits",
    "FashionMNIST",
    "ImageFolder",
    "MNIST5k",
    "Split",
    "SpokenDigits",
    "TensorData",
    "sequential",
    "spread",
    "spread_over_classes",
]
