"""Every test starts from the same seed; a file of laws asks for float64."""

import pytest
import torch

torch.set_num_threads(1)  # the networks of the tests are too small to share


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """Everything made in the test is float64, so that a tolerance tells rounding from a mistake."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
