"""Every numeric option of every part, of training and of the objective has a range, and the range is checked."""

import inspect
import math

import pytest
import torch

from pixelvae.data.spec import DataSpec
from pixelvae.latents.encoders import ConvEncoder
from pixelvae.models.assembly import CLASSES
from pixelvae.ranges import require, require_odd, require_one_of
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions

IMAGE, SOUND = DataSpec((1, 8, 8), levels=2), DataSpec((1, 32), levels=4)
BAD = [-1, 0, math.nan, math.inf, -math.inf, float("1e400"), None, "inf", [], [-1], [0], [2.5], True, 2.5, 10**12]
SMALL = {
    "num_layers": 2, "channels": 4, "head_channels": 4, "num_pseudo_inputs": 3, "num_layers_per_stack": 3,
    "map_shape": (1, 2, 2), "hidden_channels": (4,),
}  # fmt: skip
SMALL_LISTS = {"channels": (4, 4)}
OF_SOUNDS = {"WaveNet", "SpectrogramEncoder", "WaveEncoder", "TemporalContext"}
PARTS = [(kind, cls) for kind, classes in CLASSES.items() for cls in classes]


def spec_of(cls):
    return SOUND if cls.__name__ in OF_SOUNDS else IMAGE


def make(kind, cls, options):
    spec = spec_of(cls)
    return {
        "likelihood": lambda: cls(spec, **options),
        "decoder": lambda: cls(spec, 2, 3, **options),
        "encoder": lambda: cls(spec, 4, **options),
        "prior": lambda: cls(4, ConvEncoder(spec, 4, channels=(4, 4)), **options),
        "context": lambda: cls(spec, 4, **options),
    }[kind]()


def works(kind, cls, part):
    """Whether a part computes what is finite."""
    spec = spec_of(cls)
    x = torch.zeros(2, *spec.shape, dtype=torch.long)
    computed = {
        "likelihood": lambda: part.log_prob(torch.zeros(2, part.num_params, *spec.sites), x),
        "decoder": lambda: part(x, torch.zeros(2, 3)),
        "encoder": lambda: part(x).mean,
        "prior": lambda: part.log_prob(torch.zeros(2, 4)),
        "context": lambda: part(torch.zeros(2, 4)),
    }[kind]()
    return bool(computed.isfinite().all())


def made_or_refused(make_it):
    """What is made and no message, or nothing and the message of a ValueError; any other error fails the test."""
    try:
        return make_it(), ""
    except ValueError as error:
        return None, str(error)


def numeric(cls):
    """The names of the options that take numbers."""
    parameters = inspect.signature(cls).parameters.values()
    of_parts = [p for p in parameters if p.kind is p.KEYWORD_ONLY or cls in (TrainingOptions, Objective)]
    return [p.name for p in of_parts if any(word in str(p.annotation) for word in ("int", "float"))]


CASES = [(kind, cls, name) for kind, cls in PARTS for name in numeric(cls)]


def test_the_cases_hold_what_configurations_name():
    named = {(cls.__name__, name) for _, cls, name in CASES}
    assert {("GatedPixelCNN", "receptive_field"), ("WaveEncoder", "stride"), ("ConvEncoder", "channels")} <= named
    assert len(named) > 35
    assert {"clip_norm", "validation_images", "num_workers"} <= set(numeric(TrainingOptions))
    assert {"rate", "free_bits"} <= set(numeric(Objective))


@pytest.mark.parametrize(("kind", "cls", "name"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_a_part_refuses_a_value_by_name_or_works(kind, cls, name):
    names = inspect.signature(cls).parameters
    lists = {name: value for name, value in SMALL_LISTS.items() if "Sequence" in str(names.get(name))}
    small = {option: value for option, value in (SMALL | lists).items() if option in names}
    assert works(kind, cls, make(kind, cls, small))
    refused = 0
    for value in BAD:
        part, message = made_or_refused(lambda value=value: make(kind, cls, small | {name: value}))
        if part is None:
            assert name in message
            assert "\n" not in message
            refused += 1
        else:
            assert works(kind, cls, part), value
    assert refused >= 10


def curve(training):
    return [training.learning_rate_at(step) for step in (0, 1, 10, 100)]


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls in (TrainingOptions, Objective) for name in numeric(cls)], ids=str
)
def test_an_option_of_training_is_refused_by_name_or_sound(cls, name):
    refused = 0
    for value in BAD:
        options, message = made_or_refused(lambda value=value: cls(**{name: value}))
        if options is None:
            assert f".{name}={value!r}; wanted" in message
            refused += 1
        else:
            sound = curve(options) if cls is TrainingOptions else [options.beta_at(step) for step in (0, 1, 100)]
            assert all(math.isfinite(number) and number >= 0 for number in sound), value
    assert refused >= 10


@pytest.mark.parametrize(
    ("option", "value", "wanted"),
    [
        ("clip_norm", -1, "a number of at least 0"),
        ("final_lr_fraction", -1, "a number of at least 0 and at most 1"),
        ("validation_images", 0, "a whole number of at least 1 and at most 2,147,483,647"),
        ("precision", "float16", "one of 'auto', 'float32', 'bf16-mixed'"),
        ("compile", True, "one of 'auto', 'always', 'never'"),
        ("channels_last", "false", "one of True, False"),
    ],
)
def test_the_message_says_what_is_wanted(option, value, wanted):
    with pytest.raises(ValueError, match=f"train.{option}={value!r}; wanted {wanted}"):
        TrainingOptions(**{option: value})


@pytest.mark.parametrize("whole", [True, False])
def test_ends_of_a_range_belong_to_it_or_not_as_their_names_say(whole):
    def permits(value, **limits):
        try:
            require("option", value, whole=whole, **limits)
        except ValueError:
            return False
        return True

    values = (1, 2, 3)
    assert [permits(v, least=2) for v in values] == [False, True, True]
    assert [permits(v, most=2) for v in values] == [True, True, False]
    assert [permits(v, above=2) for v in values] == [False, False, True]
    assert [permits(v, below=2) for v in values] == [True, False, False]
    assert permits(2.0) is permits(2.5) is not whole
    assert not any(permits(v) for v in (True, "2", None, math.nan, math.inf))


def test_kernels_are_odd_and_a_choice_has_the_type_of_its_value():
    refused = []
    for size in (-1, 0, 1, 2, 3, 4, 5.0, True):
        try:
            require_odd("kernel_size", size)
        except ValueError:
            refused.append(size)
    assert refused == [-1, 0, 2, 4, 5.0, True]
    for value, choices in ((1, (True, False)), (True, (0, 1)), (1.0, (1, 2)), ("1", (1, 2))):
        with pytest.raises(ValueError, match=r"option=.*; wanted one of "):
            require_one_of("option", value, choices)
    require_one_of("option", True, (True, "auto"))
