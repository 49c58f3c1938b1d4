"""A codec is a pair: pop after push gives back message and data, push after pop the message."""

import numpy as np
import pytest
import torch

from coded_models import MODELS, examples
from pixelvae.compression.ancestral import centres, grids
from pixelvae.compression.archive import Coder
from pixelvae.compression.codec import lengths_of, pop_labels, push_labels
from pixelvae.sampling.coding import SLOT_BITS, Stack


def same(one, other):
    return one[0] == other[0] and one[1].tolist() == other[1].tolist()


def a_message(seed=0, n=50):
    random = np.random.default_rng(seed)
    return int(random.integers(2**32, 2**63)), random.integers(2**32, size=n, dtype=np.uint32)


@pytest.mark.parametrize("levels", [1, 2, 3, 255, 4096, 100_000, 2**24])
def test_uniform(levels):
    values, message = np.random.default_rng(levels).integers(levels, size=200), a_message()
    stack = Stack(message)
    stack.push_uniform(values, levels)
    assert stack.bits - Stack(message).bits == pytest.approx(200 * np.log2(levels), abs=33)
    assert stack.pop_uniform(200, levels).tolist() == values.tolist()
    assert same(stack.message, message)


@pytest.mark.parametrize("precision", [1, 4, 12])
def test_normal(precision):
    """Both ways round, from narrow posteriors to wide ones, in the middle of the prior and far out."""
    grid = grids(precision).grid
    random = np.random.default_rng(0)
    locs, scales = random.integers(-5 * 2**16, 5 * 2**16, size=500), random.integers(113, size=500)
    bins, message = random.integers(2**precision, size=500), a_message(n=1000)
    stack = Stack(message)
    grid.push(stack, locs, scales, bins)
    assert grid.pop(stack, locs, scales).tolist() == bins.tolist()
    assert same(stack.message, message)
    popped = grid.pop(stack, locs, scales)
    grid.push(stack, locs, scales, popped)
    assert same(stack.message, message)


def test_draws_from_a_grid_are_normal():
    """Popped from random bits: mean and scale of 4,000 draws, within five standard errors."""
    stack = Stack(a_message(n=4000))
    loc, scale = 0.7, 2 ** (-2.0)
    bins = grids(12).grid.pop(stack, np.full(4000, round(loc * 2**16)), np.full(4000, 16 + 24))
    h = centres(12)[bins] / 2**16
    assert abs(h.mean() - loc) < 5 * scale / 4000**0.5
    assert abs(h.std() / scale - 1) < 5 / 8000**0.5


def test_bits_from_below_the_bottom_are_put_back():
    """An empty message can be popped without end; afterwards pushes make it empty again."""
    stack = Stack()
    start = stack.message
    values = stack.pop_uniform(500, 1000)
    assert not stack.is_initial
    assert len(set(values.tolist())) > 300
    other = Stack(stack.message)
    other.push_uniform(values, 1000)
    assert other.is_initial
    assert other.message[0] == start[0]
    other.push_uniform(np.array([3]), 7)
    assert not other.is_initial
    assert not Stack((start[0], np.array([1, 2], np.uint32))).is_initial  # the head alone does not tell


@pytest.mark.parametrize("head", [2**32, 2**40 + 1, 2**63 - 1])
def test_the_length_of_a_message_is_that_of_its_words_and_of_the_digits_of_its_head(head):
    words = np.arange(5, dtype=np.uint32)
    assert Stack((head, words)).bits == len(f"{head:b}") + 5 * 32


def test_an_interval_of_everything_is_free():
    stack = Stack(a_message())
    before = stack.message
    stack.push(np.array([[0, 2**SLOT_BITS]]))
    assert same(stack.message, before)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_a_codec(name):
    """On top of any message."""
    model = MODELS[name]()
    coder, (x, y), message = Coder(model, threads=1), examples(model, 6), a_message()
    stack = Stack(message)
    groups = coder.codec.push(stack, x, y, lengths_of(x))
    assert sum(group.size for group in groups) == 6
    push_labels(stack, y, model.spec.num_classes)
    labels = pop_labels(stack, 6, model.spec.num_classes)
    assert (labels is None and y is None) or torch.equal(labels, y)
    assert torch.equal(coder.codec.pop(stack, groups, y, lengths_of(x)), x)
    assert same(stack.message, message)
