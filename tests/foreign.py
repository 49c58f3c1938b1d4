"""Inputs that are foreign to a model, the verbs that may be given them, and what each verb makes of each."""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch

from pixelvae import (
    AutoregressiveModel,
    Categorical,
    ConvEncoder,
    DataSpec,
    DiscretizedLogisticMixture,
    GatedPixelCNN,
    PixelVAE,
    StandardNormal,
    VectorContext,
    WaveEncoder,
    WaveNet,
)
from pixelvae.completion import complete_in_rounds
from pixelvae.data import DataSet, Split
from pixelvae.distributed import World
from pixelvae.evaluation.agreement import Classifier, accuracy, reconstruction_agreement
from pixelvae.evaluation.bounds import evaluate_bound, evaluate_importance_weighted
from pixelvae.evaluation.embedding import posteriors
from pixelvae.evaluation.information import encode_split, latent_health
from pixelvae.evaluation.probes import probe_latents
from pixelvae.generation import generators
from pixelvae.walk import walk

CPU = torch.device("cpu")
PICTURES = DataSpec((1, 4, 4), 2, (3,))
SOUNDS = DataSpec((1, 8), 4)
CNN = partial(GatedPixelCNN, num_layers=2, channels=4, head_channels=4, first_kernel_size=3)
PARTS = {
    "likelihood": Categorical,
    "decoder": CNN,
    "context": VectorContext,
    "encoder": partial(ConvEncoder, channels=(3,)),
    "prior": StandardNormal,
}
SOUND_PARTS = PARTS | {
    "decoder": partial(WaveNet, num_stacks=1, num_layers_per_stack=2, channels=4, head_channels=4),
    "encoder": partial(WaveEncoder, channels=(3,)),
}
WITHOUT_LATENTS = {name: PARTS[name] for name in ("likelihood", "decoder", "context")}
MIXTURE = WITHOUT_LATENTS | {"likelihood": partial(DiscretizedLogisticMixture, num_components=2)}

MODELS = {
    "PixelVAE": lambda: PixelVAE(PICTURES, latent_dim=2, **PARTS),
    "without labels": lambda: PixelVAE(PICTURES._replace(num_classes=()), latent_dim=2, **PARTS),
    "two kinds of label": lambda: PixelVAE(PICTURES._replace(num_classes=(3, 2)), latent_dim=2, **PARTS),
    "without latents": lambda: AutoregressiveModel(PICTURES, **WITHOUT_LATENTS),
    "mixture of 256 levels": lambda: AutoregressiveModel(DataSpec((1, 4, 4), 256), **MIXTURE),
    "sounds": lambda: PixelVAE(SOUNDS, latent_dim=2, **SOUND_PARTS),
}


@cache
def model_of(kind):
    """A small model, always the same."""
    torch.manual_seed(0)
    return MODELS[kind]().eval().requires_grad_(False)


class Examples(Split):
    """Random examples of a spec; a split that must not be read raises on reading."""

    def __init__(self, spec, n=12, *, readable=True):
        self.spec, self.n, self.readable = spec, n, readable

    def __len__(self):
        return self.n

    def __getitem__(self, key):
        assert self.readable, "worked on data of another model"
        x = torch.arange(len(key.indices) * self.spec.num_dims).view(-1, *self.spec.shape) % self.spec.levels
        return x, key.indices[:, None] % torch.tensor(self.spec.num_classes, dtype=torch.long)


class Data(DataSet):
    """The same split three times."""

    def __init__(self, split):
        super().__init__(split, split, split)


def valid(kind):
    """What every verb of a model may be given: two examples."""
    model = model_of(kind)
    spec, latents = model.spec, model.has_latents
    return {
        "x": torch.arange(2 * spec.num_dims).view(2, *spec.shape) % spec.levels,
        "y": torch.ones(2, len(spec.num_classes), dtype=torch.long) if spec.num_classes else None,
        "h": torch.tensor([[0.5, -1.0], [0.0, 2.0]]) if latents else None,
        "start": torch.tensor([[0.5, -1.0], [0.0, 2.0]]) if latents else None,
        "end": torch.tensor([[1.5, -1.0], [1.0, 2.0]]) if latents else None,
        "known": torch.arange(spec.num_dims).view(1, *spec.shape) % 3 == 0,
        "noise": model.draw_noise(2, torch.Generator().manual_seed(7)),
        "sources": generators(3, 2),
        "n": 2,
        "seed": 3,
        "temperature": 1.0,
        "num_draws": 2,
        "num_samples": 2,
        "steps": 2,
        "rounds": 2,
        "batch_size": 5,
        "max_images": 10,
        "split": Examples(spec),
    }


class Verb(NamedTuple):
    """A public verb: the arguments that may be foreign, and how it is called with them by name."""

    takes: tuple[str, ...]
    call: Callable[..., Any]


def verb(takes, call):
    return Verb(tuple(takes.split()), call)


def method(name, takes):
    """A method of a model that is given all by name."""
    return verb(takes, lambda model, **given: getattr(model, name)(**given))


VERBS = {
    "forward": method("forward", "x y noise"),
    "log_px": method("log_px", "x h y"),
    "log_weights": verb(
        "x y num_samples", lambda model, **given: model.log_weights(**given, generator=torch.Generator().manual_seed(1))
    ),
    "encode": method("encode", "x y"),
    "kl": verb("h", lambda model, h: model.kl(model.encode(**only("x y", valid("PixelVAE"))), h)),
    "decode": method("decode", "h y sources temperature"),
    "draw_latents": method("draw_latents", "sources"),
    "sample": method("sample", "n y seed temperature"),
    "reconstruct": method("reconstruct", "x y seed num_draws temperature"),
    "interpolate": method("interpolate", "start end steps y seed temperature"),
    "complete": method("complete", "x known h y seed"),
    "complete_in_rounds": verb("x known y rounds seed", complete_in_rounds),
    "score": method("score", "x h y"),
    "walk": verb(
        "batch_size",
        lambda model, batch_size: walk(
            model.decoder, model.likelihood, torch.zeros(5, 5), batch_size, lambda *_: torch.zeros(5).long()
        ),
    ),
    "evaluate_bound": verb(
        "split seed batch_size max_images", lambda model, **given: evaluate_bound(model, world=World(CPU), **given)
    ),
    "evaluate_importance_weighted": verb(
        "split num_samples seed batch_size max_images",
        lambda model, **given: evaluate_importance_weighted(model, world=World(CPU), **given),
    ),
    "encode_split": verb(
        "split batch_size max_images", lambda model, **given: encode_split(model, device=CPU, **given)
    ),
    "latent_health": verb("split seed max_images", lambda model, **given: latent_health(model, device=CPU, **given)),
    "posteriors": verb("split seed", lambda model, **given: posteriors(model, device=CPU, **given)),
    "probe_latents": verb(
        "split max_images",
        lambda model, split, max_images: probe_latents(
            model, Data(Examples(PICTURES)), split, device=CPU, max_images=max_images
        ),
    ),
    "reconstruction_agreement": verb(
        "split seed max_images",
        lambda model, **given: reconstruction_agreement(model, Classifier(PICTURES), device=CPU, **given),
    ),
    "accuracy": verb("split", lambda model, split: accuracy(Classifier(PICTURES), split, device=CPU)),
}


def only(names, given):
    return {name: given[name] for name in names.split()}


ALL = frozenset(VERBS)
OF_LATENTS = ("encode", "kl", "reconstruct", "interpolate")  # without latents they refuse everything


class Foreign(NamedTuple):
    """An input from a user.

    Args:
        argument: Its name.
        what: In words.
        change: From the valid value to the foreign one.
        right: Verbs, or ``ALL``, that answer as if they were given the valid value; all others refuse.
        model: A key of ``MODELS``.
        verbs: The functions to call; by default all that take the argument and have a valid answer.
    """

    argument: str
    what: str
    change: Callable[[Any], Any]
    right: frozenset | set = frozenset()
    model: str = "PixelVAE"
    verbs: frozenset | set = ALL

    def __str__(self):
        return f"{self.model}: {self.argument} {self.what}"

    def asked(self):
        """Names of the verbs, in order."""
        taken = [name for name, verb in VERBS.items() if self.argument in verb.takes and name in self.verbs]
        return [name for name in taken if model_of(self.model).has_latents or name not in OF_LATENTS]


def instead(value):
    """Whatever the valid value is."""
    return lambda _: value


def numbers(argument, *values):
    return [Foreign(argument, repr(value), instead(value)) for value in values]


X = [
    Foreign("x", "of int32", torch.Tensor.int, ALL),
    Foreign("x", "of uint8", torch.Tensor.byte, ALL),
    Foreign("x", "not contiguous", lambda x: x.transpose(2, 3).contiguous().transpose(2, 3), ALL),
    Foreign("x", "· 255", lambda x: x * 255),
    Foreign("x", "+ 1", lambda x: x + 1),
    Foreign("x", "of 256 grey values, uint8", lambda x: (x * 255).byte()),
    Foreign("x", "− 5", lambda x: x - 5),
    Foreign("x", "absent", lambda x: x - 1),
    Foreign("x", "− 1000", lambda x: x - 1000, model="mixture of 256 levels"),
    Foreign("x", "of float32 levels", torch.Tensor.float),
    Foreign("x", "of grey values in [0, 1)", lambda x: torch.rand(x.shape)),
    Foreign("x", "boolean", torch.Tensor.bool),
    Foreign("x", "complex", lambda x: x + 0j),
    Foreign("x", "of 6x6", lambda x: x.repeat(1, 1, 2, 2)[:, :, :6, :6]),
    Foreign("x", "of 3x3", lambda x: x[:, :, :3, :3]),
    Foreign("x", "of three channels", lambda x: x.repeat(1, 3, 1, 1)),
    Foreign("x", "channels last", lambda x: x.movedim(1, -1)),
    Foreign("x", "one example", lambda x: x[0]),
    Foreign("x", "without channels", lambda x: x[:, 0]),
    Foreign("x", "of no example", lambda x: x[:0]),
    Foreign("x", "a sound", lambda x: x.flatten(2)),
    Foreign("x", "a numpy array", lambda x: x.numpy()),
    Foreign("x", "None", instead(None)),
    Foreign("x", "a picture", instead(torch.zeros(2, 1, 4, 4).long()), model="sounds"),
    Foreign("x", "shorter", lambda x: x[:, :, :7], model="sounds"),
    Foreign("x", "absent in the middle", lambda x: torch.where(torch.arange(8) == 3, -1, x), model="sounds"),
    Foreign("x", "a waveform", lambda x: x / 2 - 1, model="sounds"),
    Foreign("x", "− 5", lambda x: x - 5, model="sounds"),
]
Y = [
    Foreign("y", "1", instead(1), ALL),
    Foreign("y", "numpy's 1", instead(np.int64(1)), ALL),
    Foreign("y", "[1, 1]", instead([1, 1]), ALL),
    Foreign("y", "[[1], [1]]", instead([[1], [1]]), ALL),
    Foreign("y", "(B,)", lambda y: y[:, 0], ALL),
    Foreign("y", "of int32", torch.Tensor.int, ALL),
    Foreign("y", "3 of 0 .. 2", instead(3)),
    Foreign("y", "−1", instead(-1)),
    Foreign("y", "(B, 1) out of range", lambda y: y + 2),
    Foreign("y", "[1]", instead([1])),
    Foreign("y", "of one example", lambda y: y[:1]),
    Foreign("y", "(B, 2)", lambda y: y.repeat(1, 2)),
    Foreign("y", "(B, 1, 1)", lambda y: y[..., None]),
    Foreign("y", "of float32", torch.Tensor.float),
    Foreign("y", "'1'", instead("1")),
    Foreign("y", "True", instead(True)),
    Foreign("y", "1.0", instead(1.0)),
    Foreign("y", "[[1], [1, 1]]", instead([[1], [1, 1]])),
    Foreign("y", "['a', 'b']", instead(["a", "b"])),
    Foreign("y", "None", instead(None), {"encode"}),  # the encoder does not look at labels
    Foreign("y", "1", instead(1), model="two kinds of label"),
    Foreign("y", "[1, 1]", instead([1, 1]), model="two kinds of label"),
    Foreign("y", "[[1, 1], [1, 1]]", instead([[1, 1], [1, 1]]), ALL, model="two kinds of label"),
    Foreign("y", "1", instead(1), model="without labels"),
    Foreign("y", "[1, 1]", instead([1, 1]), model="without labels"),
    Foreign("y", "(B, 1) of the data", instead(torch.ones(2, 1).long()), ALL - {"sample"}, model="without labels"),
    Foreign("y", "(3, 1) of the data", instead(torch.ones(3, 1).long()), model="without labels"),
]
WRONG_LATENTS = {
    "(B, 3)": lambda h: h.repeat(1, 2)[:, :3],
    "(B, 2, 1)": lambda h: h[..., None],
    "(2,)": lambda h: h[0],
    "of integers": torch.Tensor.long,
    "nan": lambda h: h * math.nan,
    "a list": torch.Tensor.tolist,
}
H = [
    *(Foreign(name, what, change) for what, change in WRONG_LATENTS.items() for name in ("h", "start", "end", "noise")),
    *(Foreign(name, "of float64", torch.Tensor.double, ALL) for name in ("h", "start", "end", "noise")),
    *(Foreign(name, "of one example", lambda h: h[:1]) for name in ("h", "end", "noise")),
    Foreign("h", "None", instead(None), verbs=ALL - {"complete"}),  # which takes the encoder's mean
    Foreign("start", "None", instead(None)),
    Foreign("end", "None", instead(None)),
    Foreign("noise", "a generator", lambda _: torch.Generator().manual_seed(7), ALL),
    Foreign("noise", "a seed", instead(7)),
    Foreign("h", "given", instead(torch.zeros(2, 2)), model="without latents"),
    Foreign("noise", "given", instead(torch.zeros(2, 2)), model="without latents"),
]
KNOWN = [
    Foreign("known", "without examples", lambda known: known[0], ALL),
    Foreign("known", "of float32", torch.Tensor.float),
    Foreign("known", "of uint8", torch.Tensor.byte),
    Foreign("known", "of another shape", lambda known: known[..., :3]),
    Foreign("known", "with an axis more", lambda known: known[None]),
    Foreign("known", "a list", torch.Tensor.tolist),
    Foreign("known", "None", instead(None)),
]
NUMBERS = [
    *numbers("n", 0, -1, 2.5, "2", None),
    Foreign("n", "numpy's 2", instead(np.int64(2)), ALL),
    *numbers("seed", -1, 0.5, "3", None, 2**63),
    *numbers("temperature", math.nan, math.inf, -1, "hot", None),
    Foreign("temperature", "1", instead(1), ALL),
    *numbers("num_draws", 0, -1, 1.5, None),
    *numbers("num_samples", 0, -1, 1.5, None),
    *numbers("steps", 1, 0, -1, 1.5, None),
    *numbers("rounds", 0, -1, 1.5, None),
    *numbers("batch_size", 0, -1, 1.5),
    *numbers("max_images", 0, -1, 1.5),
    Foreign("sources", "[]", instead([])),
    Foreign("sources", "None", instead(None)),
    Foreign("sources", "seeds", instead([3, 4])),
    Foreign("sources", "fewer than h", lambda sources: sources[:1], verbs={"decode"}),
]


def another(**changes):
    return instead(Examples(PICTURES._replace(**changes), readable=False))


SPLITS = [
    Foreign("split", "of 8x8", another(shape=(1, 8, 8))),
    Foreign("split", "of sounds", another(shape=(1, 16))),
    Foreign("split", "of 256 levels", another(levels=256)),
    Foreign("split", "of 10 classes", another(num_classes=(10,))),
    Foreign("split", "without labels", another(num_classes=())),
    Foreign("split", "without examples", instead(Examples(PICTURES, 0, readable=False))),
    Foreign("split", "a data set", instead(Data(Examples(PICTURES, readable=False)))),
    Foreign("split", "a tensor", instead(torch.zeros(12, 1, 4, 4))),
]
FOREIGN = [*X, *Y, *H, *KNOWN, *NUMBERS, *SPLITS]
