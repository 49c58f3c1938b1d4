"""Build a model from a configuration, and describe a model as one. Other packages' classes need permission."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

from pixelvae.context import Context, PositionContext, SpatialContext, TemporalContext, VectorContext
from pixelvae.data.spec import DataSpec
from pixelvae.data.splits import DataSet
from pixelvae.decoders.base import Decoder
from pixelvae.decoders.factorised import Factorised
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.decoders.pixelcnn import PixelCNN
from pixelvae.decoders.pixelrnn import DiagonalBiLSTM, RowLSTM
from pixelvae.decoders.wavenet import WaveNet
from pixelvae.latents.encoders import ConvEncoder, Encoder, WaveEncoder
from pixelvae.latents.hierarchical import HierarchicalPrior
from pixelvae.latents.priors import FlowPrior, Prior, StandardNormal, VampPrior
from pixelvae.latents.spectrogram import SpectrogramEncoder
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture, Likelihood
from pixelvae.models.base import ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory
from pixelvae.models.pixelvae import AutoregressiveModel, EncoderFactory, PixelVAE, PriorFactory
from pixelvae.ranges import require_count, require_one_of

CLASSES: Mapping[str, Sequence[type]] = {
    "likelihood": (Categorical, DiscretizedLogisticMixture),
    "decoder": (DiagonalBiLSTM, Factorised, GatedPixelCNN, PixelCNN, RowLSTM, WaveNet),
    "encoder": (ConvEncoder, SpectrogramEncoder, WaveEncoder),
    "prior": (FlowPrior, HierarchicalPrior, StandardNormal, VampPrior),
    "context": (PositionContext, SpatialContext, TemporalContext, VectorContext),
}
"""The parts of a model, and the classes that a configuration may choose for each."""

BASES: Mapping[str, type] = {
    "data": DataSet,
    "likelihood": Likelihood,
    "decoder": Decoder,
    "encoder": Encoder,
    "prior": Prior,
    "context": Context,
}
"""The base of a class from outside the package, for each option that may name it."""

OWN = re.compile(r"(?:pixelvae\.(?:[a-z_]+\.)*)?([A-Z]\w*)")
"""Names of pixelvae's own classes in a configuration: alone, or with a module of pixelvae."""


class ConfigurationError(ValueError):
    """The configuration does not describe a model or data set of this version of pixelvae."""


def assemble(
    spec: DataSpec,
    *,
    likelihood: LikelihoodFactory,
    decoder: DecoderFactory,
    encoder: EncoderFactory | None,
    prior: PriorFactory | None,
    context: ContextFactory,
    latent_dim: int,
    class_conditional: bool,
) -> GenerativeModel:
    """Make a PixelVAE from its parts, or without an encoder an AutoregressiveModel.

    Raises:
        ValueError: If the model is class-conditional but the data have no labels, or only one of encoder and prior is
            given.
    """
    require_one_of("class_conditional", class_conditional, (True, False))
    require_count("latent_dim", latent_dim, least=0)
    if class_conditional and not spec.num_classes:
        raise ValueError("class_conditional=True, but the data set has no labels; set class_conditional: false")
    if not class_conditional:
        spec = spec._replace(num_classes=())
    if encoder is None or prior is None:
        if encoder is not None or prior is not None or latent_dim:
            raise ValueError(
                "a model without latents has encoder: null, prior: null and latent_dim: 0; a PixelVAE has all three"
            )
        return AutoregressiveModel(spec, likelihood=likelihood, decoder=decoder, context=context)
    return PixelVAE(
        spec,
        likelihood=likelihood,
        decoder=decoder,
        encoder=encoder,
        prior=prior,
        context=context,
        latent_dim=latent_dim,
    )


def build(config: Mapping[str, Any], spec: DataSpec, classes: Sequence[type] = ()) -> GenerativeModel:
    """Build the untrained model that a configuration describes, from the classes in ``CLASSES`` and the given ones.

    Args:
        config: A mapping with ``latent_dim``, ``class_conditional`` and an entry for every part in ``CLASSES``. An
            entry is null or a mapping of ``class_path`` and ``init_args``.
        spec: Shape, levels and labels of the data.
        classes: Classes from outside the package that the configuration may name.

    Raises:
        ConfigurationError: If it names any other class, or arguments that the class does not have.
    """
    try:
        parts: dict[str, Any] = {
            name: None if config[name] is None else factory(config[name], own, name, classes)
            for name, own in CLASSES.items()
        }
        return assemble(spec, latent_dim=config["latent_dim"], class_conditional=config["class_conditional"], **parts)
    except (TypeError, KeyError) as error:
        raise ConfigurationError(f"not a model of this version of pixelvae: {error}") from error


def factory(
    entry: Mapping[str, Any], own: Sequence[type], option: str, classes: Sequence[type] = ()
) -> Callable[..., Any]:
    """The class named by ``class_path``, with its ``init_args`` bound. Imports nothing.

    Args:
        entry: ``class_path``, the name of a class with or without its module, and ``init_args``.
        own: The classes of pixelvae that may be chosen.
        option: Name of the option, for the message.
        classes: Classes from outside the package that may be chosen. A class with the same name and module has
            precedence over one with the same name only, since a class may move from a notebook to a module.

    Raises:
        ConfigurationError: If the class is not among them, or does not have the base class of the option.

    Example:
        >>> factory({"class_path": "pixelvae.StandardNormal"}, CLASSES["prior"], "prior")(2).latent_dim
        2
    """
    path, options = entry["class_path"], entry.get("init_args") or {}
    match = OWN.fullmatch(path)
    by_name = {cls.__name__: cls for cls in own}
    if match is not None and match[1] in by_name:
        return partial(by_name[match[1]], **options)
    name = path.rpartition(".")[2]
    namesakes = [cls for cls in classes if cls.__name__ == name]
    chosen = [cls for cls in namesakes if path_of(cls) == path] or namesakes
    if not chosen:
        raise ConfigurationError(
            f"{option}: class_path {path!r} is none of pixelvae's own: {', '.join(by_name)}{_permission(path, name)}"
        )
    if not issubclass(chosen[0], BASES[option]):
        raise ConfigurationError(f"{option}: {path} is not a {BASES[option].__name__}; derive it from that class")
    return partial(chosen[0], **options)


def _permission(path: str, name: str) -> str:
    """Advice on how to permit a class that seems to be from outside the package."""
    if path.startswith("pixelvae.") or "." not in path or not name.isidentifier() or not name[0].isupper():
        return ""
    return f". If it is yours: pixelvae.load(FOLDER, classes=[{name}]), or --trust MODULE of a command"


def path_of(cls: type) -> str:
    """The class_path of a class: ``pixelvae.NAME`` for pixelvae's own, else its module and name."""
    own = cls.__module__.split(".")[0] == "pixelvae"
    return f"pixelvae.{cls.__name__}" if own else f"{cls.__module__}.{cls.__qualname__}"


def foreign_classes(config: Mapping[str, Any]) -> list[str]:
    """The class_paths in a configuration that are not pixelvae's own.

    Example:
        >>> foreign_classes({"decoder": {"class_path": "mine.Net"}, "prior": {"class_path": "pixelvae.FlowPrior"}})
        ['mine.Net']
    """
    entries = (config.get(option) for option in BASES)
    paths = [entry["class_path"] for entry in entries if isinstance(entry, Mapping)]
    return list(dict.fromkeys(path for path in paths if OWN.fullmatch(path) is None))


def how_to_open(config: Mapping[str, Any]) -> str:
    """Advice on how to open a checkpoint with classes from outside the package; empty without such classes.

    Example:
        >>> how_to_open({"decoder": {"class_path": "mine.Net"}}).partition(": ")[2]
        'open the checkpoints with pixelvae.load(FOLDER, classes=[Net]), or with --trust mine in a command'
    """
    paths = foreign_classes(config)
    if not paths:
        return ""
    names = ", ".join(path.rpartition(".")[2] for path in paths)
    modules = sorted({path.partition(".<locals>")[0].rpartition(".")[0] for path in paths} - {"__main__", ""})
    commands = f", or with --trust {','.join(modules)} in a command" if modules else ""
    what = "is not a class of pixelvae" if len(paths) == 1 else "are not classes of pixelvae"
    return f"{', '.join(paths)} {what}: open the checkpoints with pixelvae.load(FOLDER, classes=[{names}]){commands}"


def parts_in(module: ModuleType) -> list[type]:
    """The classes in a module that a configuration may name: data sets and model parts."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, tuple(BASES.values())) and not inspect.isabstract(value)
    ]


def described(part: Any, option: str) -> dict[str, Any]:
    """Describe a class, or ``functools.partial`` of a class, as an entry of a configuration; inverse of ``factory``.

    Keyword-only options that are not given are recorded with their defaults, since another version may change these.

    Raises:
        ConfigurationError: If it is anything else, or has arguments that YAML cannot represent.

    Example:
        >>> described(partial(FlowPrior, hidden_channels=(8,)), "prior")
        {'class_path': 'pixelvae.FlowPrior', 'init_args': {'num_transforms': 4, 'hidden_channels': [8]}}
    """
    cls, options = (part.func, part.keywords) if isinstance(part, partial) and not part.args else (part, {})
    if not inspect.isclass(cls):
        raise ConfigurationError(
            f"{option}={part!r} cannot be kept in a checkpoint; give a class, or functools.partial of a class with "
            "arguments by name"
        )
    entry: dict[str, Any] = {"class_path": path_of(cls)}
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is not parameter.empty
    }
    if options := defaults | options:
        entry["init_args"] = {name: plain(value, f"{option}.{name}") for name, value in options.items()}
    return entry


def plain(value: Any, option: str) -> Any:
    """Convert a value to YAML's types: paths to strings, tuples to lists, numpy numbers to Python's.

    Raises:
        ConfigurationError: If it is or contains anything else.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral | Real):  # of Python or numpy
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, str | Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(inner, f"{option}.{name}") for name, inner in value.items()}
    if isinstance(value, Sequence):
        return [plain(inner, option) for inner in value]
    raise ConfigurationError(
        f"{option}={value!r} cannot be kept in a checkpoint; give numbers, words, lists or mappings"
    )


def configuration(model: GenerativeModel, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configuration from which ``build`` makes the same model: the given options, completed from the model.

    Raises:
        ConfigurationError: If a part cannot be described.
    """
    config = dict(known or {})
    for option in CLASSES:
        if option not in config:
            part = model.parts[option]
            config[option] = None if part is None else described(part, option)
    config.setdefault("latent_dim", model.latent_dim)
    config.setdefault("class_conditional", bool(model.spec.num_classes))
    return config
