"""A data set is recognised by the sizes and values of both splits that training reads."""

import torch

from pixelvae import TensorData
from pixelvae.training.run_folder import fingerprint


def data(**changed):
    parts = {"train": torch.zeros(20, 1, 4, 4), "validation": torch.zeros(10, 1, 4, 4), "test": torch.zeros(5, 1, 4, 4)}
    return TensorData([part.long() for part in (parts | changed).values()], levels=3)


def test_values_and_sizes_of_train_and_validation_are_in_the_fingerprint_and_test_is_not():
    same = fingerprint(data())
    assert fingerprint(data()) == same
    for split, n in (("train", 20), ("validation", 10)):
        assert fingerprint(data(**{split: torch.ones(n, 1, 4, 4)})) != same
        assert fingerprint(data(**{split: torch.zeros(n + 1, 1, 4, 4)})) != same
    assert fingerprint(data(test=torch.ones(5, 1, 4, 4))) == same
