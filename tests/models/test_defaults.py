"""Models without a configuration: default parts for the data, and their representations."""

from functools import partial

import pytest
import torch

from pixelvae import (
    AutoregressiveModel,
    Categorical,
    DataSpec,
    DiscretizedLogisticMixture,
    Factorised,
    GatedPixelCNN,
    PixelCNN,
    PixelVAE,
    SpectrogramEncoder,
    TemporalContext,
    VectorContext,
    WaveNet,
)
from pixelvae.models.assembly import ConfigurationError, build, configuration, described, factory

SPECS = [
    DataSpec((1, 8, 8), 2, (10,)),
    DataSpec((1, 7, 7), 512),
    DataSpec((3, 8, 8), 256, (3, 2)),
    DataSpec((2, 4, 4), 2),
    DataSpec((1, 1, 1), 2),
    DataSpec((1, 100), 256, (3,)),
    DataSpec((1, 4), 4),
]
COLOUR = SPECS[2]


def bound(model):
    """The bounds of two examples."""
    x = torch.randint(model.spec.levels, (2, *model.spec.shape), generator=torch.Generator().manual_seed(0))
    y = torch.zeros(2, len(model.spec.num_classes), dtype=torch.long)
    return model(x, y, noise=torch.Generator().manual_seed(0)).elbo


@pytest.mark.parametrize("kind", [PixelVAE, AutoregressiveModel])
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.summary)
def test_every_kind_of_data_has_a_model_that_its_configuration_gives_again(spec, kind):
    """It has a finite bound, is a function of the seed, and build(configuration) is the same model."""
    model, again, other = kind.default(spec), kind.default(spec), kind.default(spec, seed=1)
    assert model.spec == spec
    assert bound(model).isfinite().all()
    state = model.state_dict()
    assert all(torch.equal(state[name], again.state_dict()[name]) for name in state)
    assert not all(torch.equal(state[name], other.state_dict()[name]) for name in state)
    built = build(configuration(model), spec)
    built.load_state_dict(state)
    assert torch.equal(bound(built), bound(model))
    assert repr(built) == repr(model)


def test_the_initial_weights_leave_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    PixelVAE.default(SPECS[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_sounds_get_the_parts_of_sounds():
    parts = PixelVAE.default(SPECS[5]).parts
    assert (parts["decoder"].func, parts["encoder"], parts["context"]) == (WaveNet, SpectrogramEncoder, TemporalContext)


def test_a_given_part_stays_as_it_is():
    model = PixelVAE.default(SPECS[0], latent_dim=3, decoder=partial(PixelCNN, num_layers=2), context=VectorContext)
    assert type(model.decoder) is PixelCNN
    assert model.parts["decoder"].keywords == {"num_layers": 2}
    assert model.decoder.context_dim == 3 + 10


@pytest.mark.parametrize("decoder", [partial(GatedPixelCNN, num_layers=2), PixelCNN, Factorised])
def test_the_colours_are_ordered_once(decoder):
    """The likelihood orders the channels where it can; the network then masks no channel by default."""
    model = PixelVAE.default(COLOUR, decoder=decoder)
    assert type(model.likelihood) is DiscretizedLogisticMixture
    assert not model.decoder.channel_masked
    assert PixelVAE.default(COLOUR, likelihood=Categorical).decoder.channel_masked
    likelihood = partial(DiscretizedLogisticMixture, num_components=3)
    masked = partial(GatedPixelCNN, channels=6, head_channels=6, channel_masked=True)
    with pytest.raises(ValueError, match="orders the colour channels itself"):
        PixelVAE.default(COLOUR, likelihood=likelihood, decoder=masked)


def test_labels_can_be_left_out():
    model = PixelVAE.default(SPECS[0], class_conditional=False)
    assert model.spec.num_classes == ()
    assert not configuration(model)["class_conditional"]


def test_an_instance_is_refused_as_a_part():
    with pytest.raises(ValueError, match="likelihood is an instance of Categorical; wanted the class"):
        PixelVAE.default(SPECS[0], likelihood=Categorical(SPECS[0]))


def test_repr_is_one_line():
    model = PixelVAE.default(SPECS[0], latent_dim=4)
    number = sum(parameter.numel() for parameter in model.parameters())
    parts = "Categorical, GatedPixelCNN, ConvEncoder, StandardNormal, SpatialContext"
    assert repr(model) == f"PixelVAE(1x8x8, 2 levels, 10 classes, latent_dim 4: {parts}; {number:,} parameters)"


def test_what_is_known_already_is_not_asked_of_the_model():
    """A configuration from the command line stays as it is, entry for entry."""
    model = PixelVAE.default(SPECS[0], decoder=lambda *sizes: GatedPixelCNN(*sizes, num_layers=2))
    known = configuration(PixelVAE.default(SPECS[0])) | {"train": {"steps": 3}}
    assert list(configuration(model, known).items()) == list(known.items())
    with pytest.raises(ConfigurationError, match=r"decoder=<function .* give a class, or functools.partial"):
        configuration(model)


def test_options_of_a_part_are_plain():
    import numpy as np

    part = partial(GatedPixelCNN, num_layers=np.int64(3), channels=8)
    entry = described(part, "decoder")
    assert type(entry["init_args"]["num_layers"]) is int
    assert entry["init_args"]["kernel_size"] == 3  # a default, which another version may change
    assert factory(entry, (GatedPixelCNN,), "decoder").keywords["channels"] == 8
    with pytest.raises(ConfigurationError, match=r"decoder.channels=<class 'int'> cannot be kept"):
        described(partial(GatedPixelCNN, channels=int), "decoder")
