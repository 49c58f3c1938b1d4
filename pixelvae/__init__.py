"""PixelVAE and its family: variational autoencoders with autoregressive decoders."""

from pixelvae.checkpoint import load
from pixelvae.context import SpatialContext, TemporalContext, VectorContext
from pixelvae.data import (
    CIFAR10,
    KMNIST,
    MNIST,
    SVHN,
    AudioFolder,
    DataSpec,
    Digits,
    FashionMNIST,
    ImageFolder,
    MNIST5k,
    SpokenDigits,
)
from pixelvae.decoders.factorised import Factorised
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.pixelcnn import PixelCNN
from pixelvae.decoders.pixelrnn import DiagonalBiLSTM, RowLSTM
from pixelvae.decoders.wavenet import WaveNet
from pixelvae.encoders import ConvEncoder, WaveEncoder
from pixelvae.generation import complete, interpolate, reconstruct, sample, score
from pixelvae.hierarchical import HierarchicalPrior
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture
from pixelvae.models import AutoregressiveModel, Bound, PixelVAE
from pixelvae.priors import FlowPrior, StandardNormal, VampPrior

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "SVHN",
    "AudioFolder",
    "AutoregressiveModel",
    "Bound",
    "Categorical",
    "ConvEncoder",
    "DataSpec",
    "DiagonalBiLSTM",
    "Digits",
    "DiscretizedLogisticMixture",
    "Factorised",
    "FashionMNIST",
    "FlowPrior",
    "GatedPixelCNN",
    "HierarchicalPrior",
    "ImageFolder",
    "MNIST5k",
    "PixelCNN",
    "PixelVAE",
    "RowLSTM",
    "SpatialContext",
    "SpokenDigits",
    "StandardNormal",
    "TemporalContext",
    "VampPrior",
    "VectorContext",
    "WaveEncoder",
    "WaveNet",
    "complete",
    "interpolate",
    "load",
    "reconstruct",
    "sample",
    "score",
]
