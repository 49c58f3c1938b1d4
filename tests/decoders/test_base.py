"""What all decoders share."""

import torch

from families import DECODERS
from pixelvae import DataSpec, GatedPixelCNN


def test_signal_spreads_levels_evenly_from_minus_one_to_one():
    """The lowest level is −1, the highest 1, the steps between equal, the dtype that of the weights."""
    decoder = GatedPixelCNN(DataSpec((1, 1, 5), 5), 1, num_layers=1, channels=2)
    signal = decoder.signal(torch.arange(5, dtype=torch.uint8))
    torch.testing.assert_close(signal, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))


def test_names_of_the_family_are_unique():
    """Two cases of one name could not be distinguished in a report."""
    assert len({case.name for case in DECODERS}) == len(DECODERS)
