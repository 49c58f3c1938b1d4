"""The options of training: schedules, and ranges that are checked."""

import pytest

from pixelvae.training.options import TrainingOptions


def test_the_learning_rate_warms_up_and_falls_to_its_final_fraction():
    training = TrainingOptions(steps=100, learning_rate=1.0, lr_warmup_steps=10, final_lr_fraction=0.1)
    rates = [training.learning_rate_at(step) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10] == max(rates)
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(
    ("option", "value"), [("steps", 0), ("batch_size", 0), ("ema_decay", 1.0), ("learning_rate", 0)]
)
def test_an_option_out_of_range_is_named(option, value):
    with pytest.raises(ValueError, match=f"train.{option}={value}"):
        TrainingOptions(**{option: value})
