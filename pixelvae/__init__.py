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
from pixelvae.evaluation.encoding import encode_files as encode
from pixelvae.generation import complete, interpolate, reconstruct, sample, score
from pixelvae.latents.encoders import ConvEncoder, WaveEncoder
from pixelvae.latents.hierarchical import HierarchicalPrior
from pixelvae.latents.priors import FlowPrior, StandardNormal, VampPrior
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture
from pixelvae.models.base import Bound
from pixelvae.models.pixelvae import AutoregressiveModel, PixelVAE

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
    "encode",
    "interpolate",
    "load",
    "reconstruct",
    "sample",
    "score",
]
