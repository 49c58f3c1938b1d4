"""From a configuration to a model and back: pixelvae's own classes in one table, and foreign ones by permission."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from types import ModuleType
from typing import Any

from pixelvae.context import Context, SpatialContext, TemporalContext, VectorContext
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
from pixelvae.likelihoods import Categorical, DiscretizedLogisticMixture, Likelihood
from pixelvae.models.base import ContextFactory, DecoderFactory, GenerativeModel, LikelihoodFactory
from pixelvae.models.pixelvae import AutoregressiveModel, EncoderFactory, PixelVAE, PriorFactory
from pixelvae.ranges import require_count, require_one_of

CLASSES: Mapping[str, Sequence[type]] = {
    "likelihood": (Categorical, DiscretizedLogisticMixture),
    "decoder": (DiagonalBiLSTM, Factorised, GatedPixelCNN, PixelCNN, RowLSTM, WaveNet),
    "encoder": (ConvEncoder, WaveEncoder),
    "prior": (FlowPrior, HierarchicalPrior, StandardNormal, VampPrior),
    "context": (SpatialContext, TemporalContext, VectorContext),
}
"""The parts of a model, and what a configuration may choose for each."""

BASES: Mapping[str, type] = {
    "data": DataSet,
    "likelihood": Likelihood,
    "decoder": Decoder,
    "encoder": Encoder,
    "prior": Prior,
    "context": Context,
}
"""What a class from outside the package has to be, for each option that may name it."""

OWN = re.compile(r"(?:pixelvae\.(?:[a-z_]+\.)*)?([A-Z]\w*)")
"""How a configuration names one of pixelvae's own classes: alone, or with a module of pixelvae."""


class ConfigurationError(ValueError):
    """A configuration that does not describe a model or data set of this version of pixelvae."""


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
    """The model that a configuration describes: a PixelVAE, or without an encoder an AutoregressiveModel.

    Raises:
        ValueError: If labels are asked of data that have none, or only one of encoder and prior is given.
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
    """The untrained model that a configuration describes, made of the classes in ``CLASSES`` and those given.

    Args:
        config: Has an entry for every part in ``CLASSES``, each null or a mapping of ``class_path`` and
            ``init_args``; ``latent_dim``; ``class_conditional``.
        spec: Shape, levels and labels of the data.
        classes: Classes from outside the package that it may name too.

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
    """One of some classes, chosen by ``class_path``, with its ``init_args`` bound. Nothing is imported.

    Args:
        entry: ``class_path``, the name of a class alone or with its module, and ``init_args``.
        own: Which of pixelvae's own classes may be chosen.
        option: Name of the option, for the message.
        classes: Classes from outside the package that may be chosen too. One of the same name and module is taken;
            else one of the same name, for a class may move from a notebook to a module.

    Raises:
        ConfigurationError: If the class is none of them, or not of the kind that the option wants.

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
        raise ConfigurationError(f"{option}: {path} is no {BASES[option].__name__}; derive it from that class")
    return partial(chosen[0], **options)


def _permission(path: str, name: str) -> str:
    """How to permit a class that looks like one from outside the package."""
    if path.startswith("pixelvae.") or "." not in path or not name.isidentifier() or not name[0].isupper():
        return ""
    return f". If it is yours: pixelvae.load(FOLDER, classes=[{name}]), or --trust MODULE of a command"


def path_of(cls: type) -> str:
    """The class_path of a class: ``pixelvae.NAME`` of the package's own, else its module and name."""
    own = cls.__module__.split(".")[0] == "pixelvae"
    return f"pixelvae.{cls.__name__}" if own else f"{cls.__module__}.{cls.__qualname__}"


def foreign_classes(config: Mapping[str, Any]) -> list[str]:
    """The class_paths in a configuration that are none of pixelvae's own.

    Example:
        >>> foreign_classes({"decoder": {"class_path": "mine.Net"}, "prior": {"class_path": "pixelvae.FlowPrior"}})
        ['mine.Net']
    """
    entries = (config.get(option) for option in BASES)
    paths = [entry["class_path"] for entry in entries if isinstance(entry, Mapping)]
    return list(dict.fromkeys(path for path in paths if OWN.fullmatch(path) is None))


def how_to_open(config: Mapping[str, Any]) -> str:
    """How a checkpoint with classes from outside the package is opened again; empty without such classes.

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
    """The classes in a module that a configuration may name: data sets and parts of models."""
    return [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, tuple(BASES.values())) and not inspect.isabstract(value)
    ]


def described(part: Any, option: str) -> dict[str, Any]:
    """The entry of a configuration that ``factory`` makes this class, or ``functools.partial`` of a class, of.

    Keyword-only options that are not given are recorded with their defaults, which another version may change.

    Raises:
        ConfigurationError: If it is anything else, or has arguments that a YAML file cannot hold.

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
    """A value of YAML's types: paths become words, tuples lists, numbers of numpy those of Python.

    Raises:
        ConfigurationError: If it is or holds anything else.
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
    """What ``build`` makes the same model of: the options that are known already, then those that they lack.

    Raises:
        ConfigurationError: If a part cannot be named.
    """
    config = dict(known or {})
    for option in CLASSES:
        if option not in config:
            part = model.parts[option]
            config[option] = None if part is None else described(part, option)
    config.setdefault("latent_dim", model.latent_dim)
    config.setdefault("class_conditional", bool(model.spec.num_classes))
    return config
