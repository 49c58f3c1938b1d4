"""Every test starts from the same seed; a file of laws asks for float64, a test of commands for checkpoints."""

import pytest
import torch

from pixelvae.checkpoint import Progress, save_model
from small_runs import CONFIG, small_model

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


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """A folder with a run of every kind of model, with random weights: vae, plain (no latents), unlabelled."""
    root = tmp_path_factory.mktemp("runs")
    without_latents = CONFIG | {"encoder": None, "prior": None, "latent_dim": 0}
    unlabelled = CONFIG | {"class_conditional": False}
    for name, config in {"vae": CONFIG, "plain": without_latents, "unlabelled": unlabelled}.items():
        model = small_model(config)
        for parameter in model.parameters():
            parameter.data.mul_(3)  # so that latents and labels change what is drawn
        save_model(root / name / "best", model, config, Progress(step=1234))
    return root
