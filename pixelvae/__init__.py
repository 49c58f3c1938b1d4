"""PixelVAE and its family: variational autoencoders with autoregressive decoders."""

from pixelvae.checkpoint import CheckpointError, load, load_data
from pixelvae.compression.archive import compress, decompress
from pixelvae.context import Context, PositionContext, SpatialContext, TemporalContext, VectorContext
from pixelvae.data import (
    CIFAR10,
    KMNIST,
    MNIST,
    SVHN,
    AudioFolder,
    BinarizedMNIST,
    DataSet,
    DataSpec,
    Digits,
    FashionMNIST,
    ImageFolder,
    MNIST5k,
    Split,
    SpokenDigits,
    TensorData,
)
from pixelvae.data.transforms import mu_law_decode, mu_law_encode, requantise
from pixelvae.decoders.base import AutoregressiveDecoder
from pixelvae.decoders.factorised import Factorised
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.pixelcnn import PixelCNN
from pixelvae.decoders.pixelrnn import DiagonalBiLSTM, RowLSTM
from pixelvae.decoders.wavenet import WaveNet
from pixelvae.evaluation.encoding import encode_files as encode
from pixelvae.generation import complete, interpolate, reconstruct, sample, score
from pixelvae.latents.encoders import ConvEncoder, Encoder, WaveEncoder
from pixelvae.latents.hierarchical import HierarchicalPrior
from pixelvae.latents.priors import FlowPrior, Prior, StandardNormal, VampPrior
from pixelvae.latents.spectrogram import SpectrogramEncoder
from pixelvae.library import Evaluation, Run, evaluate, fit
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture, Likelihood
from pixelvae.models.base import Bound
from pixelvae.models.pixelvae import AutoregressiveModel, PixelVAE
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions

__all__ = [
    "CIFAR10",
    "KMNIST",
    "MNIST",
    "SVHN",
    "AudioFolder",
    "AutoregressiveDecoder",
    "AutoregressiveModel",
    "BinarizedMNIST",
    "Bound",
    "Categorical",
    "CheckpointError",
    "Context",
    "ConvEncoder",
    "DataSet",
    "DataSpec",
    "DiagonalBiLSTM",
    "Digits",
    "DiscretizedLogisticMixture",
    "Encoder",
    "Evaluation",
    "Factorised",
    "FashionMNIST",
    "FlowPrior",
    "GatedPixelCNN",
    "HierarchicalPrior",
    "ImageFolder",
    "Likelihood",
    "MNIST5k",
    "Objective",
    "PixelCNN",
    "PixelVAE",
    "PositionContext",
    "Prior",
    "RowLSTM",
    "Run",
    "SpatialContext",
    "SpectrogramEncoder",
    "Split",
    "SpokenDigits",
    "StandardNormal",
    "TemporalContext",
    "TensorData",
    "TrainingOptions",
    "VampPrior",
    "VectorContext",
    "WaveEncoder",
    "WaveNet",
    "complete",
    "compress",
    "decompress",
    "encode",
    "evaluate",
    "fit",
    "interpolate",
    "load",
    "load_data",
    "mu_law_decode",
    "mu_law_encode",
    "reconstruct",
    "requantise",
    "sample",
    "score",
]
