"""Suggestions for names: the most similar ones, few, and by the last part of a dotted name too."""

import pytest

from pixelvae.commands.names import did_you_mean, nearest

OPTIONS = [
    "train.steps",
    "train.batch_size",
    "train.learning_rate",
    "data.levels",
    "data.root",
    "data.seed",
    "out",
    "model.decoder.channels",
]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("train.step", ["train.steps"]),
        ("train.batchsize", ["train.batch_size"]),
        ("batch_sise", ["train.batch_size"]),
        ("learningrate", ["train.learning_rate"]),
        ("levls", ["data.levels"]),
        ("data", ["data.levels", "data.root"]),
        ("outt", ["out"]),
        ("chanels", ["model.decoder.channels"]),
        ("something else", []),
    ],
)
def test_the_nearest_names_are_found(name, found):
    assert nearest(name, OPTIONS) == found


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_no_more_suggestions_than_asked_for(count):
    assert nearest("data", OPTIONS, count) == ["data.levels", "data.root", "data.seed"][:count]
    similar = ["learning", "leaning", "earning"]
    assert len(nearest("lerning", similar, count)) == count


def test_a_message_lists_them_with_their_prefix_or_advises_otherwise():
    assert did_you_mean("data", OPTIONS, "see --help", prefix="--") == "did you mean --data.levels or --data.root?"
    assert did_you_mean("something else", OPTIONS, "see --help") == "see --help"
