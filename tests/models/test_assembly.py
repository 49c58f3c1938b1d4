"""From configurations to models: the table of classes, and what is refused."""

import inspect
from functools import partial

import pytest

import pixelvae
from families import SMALL_CNN
from pixelvae import Categorical, ConvEncoder, DataSpec, StandardNormal, VectorContext
from pixelvae.context import Context
from pixelvae.data import DATA_SETS, DataSet, TensorData
from pixelvae.decoders.base import Decoder
from pixelvae.latents.encoders import Encoder
from pixelvae.latents.priors import Prior
from pixelvae.likelihoods import Likelihood
from pixelvae.models.assembly import CLASSES, ConfigurationError, assemble, build, factory
from small_runs import CONFIG
from tiny import BINARY

TWO_KINDS = BINARY._replace(num_classes=(2, 3))
BASES = {"likelihood": Likelihood, "decoder": Decoder, "encoder": Encoder, "prior": Prior} | {"context": Context}
PARTS = {"likelihood": Categorical, "decoder": partial(SMALL_CNN, num_layers=1), "context": VectorContext}
LATENTS = {"encoder": partial(ConvEncoder, channels=(3,)), "prior": StandardNormal, "latent_dim": 2}
NO_LATENTS = {"encoder": None, "prior": None, "latent_dim": 0}


@pytest.mark.parametrize(("latents", "kind"), [(LATENTS, "PixelVAE"), (NO_LATENTS, "AutoregressiveModel")])
@pytest.mark.parametrize("class_conditional", [True, False])
def test_assemble_makes_what_the_configuration_describes(latents, kind, class_conditional):
    """Latents make a PixelVAE; labels are left out of the spec unless asked for."""
    model = assemble(TWO_KINDS, class_conditional=class_conditional, **PARTS, **latents)
    assert type(model).__name__ == kind
    assert model.spec.num_classes == ((2, 3) if class_conditional else ())
    assert model.latent_dim == latents["latent_dim"]


@pytest.mark.parametrize(
    ("latents", "class_conditional", "message"),
    [
        (LATENTS | {"prior": None}, False, "without latents"),
        (LATENTS | {"encoder": None}, False, "without latents"),
        (NO_LATENTS | {"latent_dim": 2}, False, "without latents"),
        (LATENTS | {"latent_dim": 0}, False, "latent_dim=0"),
        (LATENTS, True, "no labels"),
    ],
)
def test_assemble_refuses_half_a_vae(latents, class_conditional, message):
    """Encoder, prior and latent_dim come together or not at all; labels must exist."""
    with pytest.raises(ValueError, match=message):
        assemble(BINARY, class_conditional=class_conditional, **PARTS, **latents)


@pytest.mark.parametrize(
    ("base", "classes"), [(base, CLASSES[part]) for part, base in BASES.items()] + [(DataSet, DATA_SETS)]
)
def test_every_public_class_can_be_chosen(base, classes):
    """And no other: what a checkpoint may name is what the package shows, without bases and tensors in memory."""
    public = {value for name in pixelvae.__all__ if inspect.isclass(value := getattr(pixelvae, name))}
    choices = {cls for cls in public - {TensorData} if issubclass(cls, base) and not inspect.isabstract(cls)}
    assert choices == set(classes)
    assert len({cls.__name__ for cls in classes}) == len(classes)
    assert not any(inspect.isabstract(cls) for cls in classes)


@pytest.mark.parametrize(
    "path", ["StandardNormal", "pixelvae.StandardNormal", "pixelvae.latents.priors.StandardNormal"]
)
def test_a_class_is_named_alone_or_with_a_module(path):
    """Also a module of an older version: only the name of the class counts."""
    assert factory({"class_path": path}, CLASSES["prior"], "prior").func is StandardNormal
    assert factory({"class_path": "pixelvae.priors.StandardNormal"}, CLASSES["prior"], "prior").func is StandardNormal


@pytest.mark.parametrize("path", ["ConvEncoder", "os.system", "pixelvae.checkpoint.load", "evil.StandardNormal", "x"])
def test_any_other_class_is_refused(path):
    """Another part's too; the message names the option and the choices."""
    with pytest.raises(ConfigurationError, match=r"prior: class_path .* is none of pixelvae's own: FlowPrior, Hier"):
        factory({"class_path": path}, CLASSES["prior"], "prior")


@pytest.mark.parametrize(
    ("path", "advised"),
    [
        ("mine.parts.Flow", True),
        ("pixelvae.latents.priors.Flow", False),
        ("pixelvae.Flow", False),
        ("Flow", False),
        ("os.system", False),
        ("mine.Not A Name", False),
    ],
)
def test_permission_is_advised_for_classes_of_other_packages_alone(path, advised):
    """No permission makes a class that pixelvae does not have."""
    with pytest.raises(ConfigurationError) as caught:
        factory({"class_path": path}, CLASSES["prior"], "prior")
    advice = f". If it is yours: pixelvae.load(FOLDER, classes=[{path.rpartition('.')[2]}]), or --trust MODULE"
    assert (advice in str(caught.value)) == ("--trust" in str(caught.value)) == advised


@pytest.mark.parametrize(
    ("change", "message"),
    [({"prior": {"class_path": "FlowPrior", "init_args": {"depth": 2}}}, "depth"), ({"latent_dim": ...}, "latent_dim")],
)
def test_arguments_that_are_not_there_or_missing_are_refused(change, message):
    config = {name: value for name, value in (CONFIG | change).items() if value is not ...}
    with pytest.raises(ConfigurationError, match=message):
        build(config, DataSpec((1, 8, 8), 2, (10,)))
