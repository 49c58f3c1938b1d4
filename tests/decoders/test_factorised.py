"""What is Factorised's alone; all else is in test_laws.py."""

import pytest
import torch

from pixelvae import DataSpec, Factorised


@pytest.mark.parametrize("context", [None, torch.ones(2, 5)], ids=["none", "vector"])
def test_every_site_has_a_bias_of_its_own(context):
    """Without a context the params are the learnt bias; with one the bias is added."""
    decoder, x = Factorised(DataSpec((1, 2, 3), 2), 2, 0 if context is None else 5), torch.ones(2, 1, 2, 3).long()
    before = decoder(x, context).clone()
    torch.nn.init.normal_(decoder.bias)
    torch.testing.assert_close(decoder(x, context) - before, decoder.bias.expand(2, 2, 2, 3))


def test_refuses_sounds():
    """Its convolutions are those of an image."""
    with pytest.raises(ValueError, match=r"\(1, 16\) is not an image"):
        Factorised(DataSpec((1, 16), 2), 1)
