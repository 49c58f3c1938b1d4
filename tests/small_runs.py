"""A small run on scikit-learn's digits, as a user would configure it."""

from functools import partial
from pathlib import Path

import torch

from pixelvae import Digits
from pixelvae.distributed import World
from pixelvae.models.assembly import build
from pixelvae.training.loop import fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions

CONFIG = {
    "data": {"class_path": "Digits", "init_args": {"levels": 2}},
    "likelihood": {"class_path": "Categorical"},
    "decoder": {"class_path": "GatedPixelCNN", "init_args": {"num_layers": 2, "channels": 4, "first_kernel_size": 3}},
    "encoder": {"class_path": "ConvEncoder", "init_args": {"channels": [4, 8]}},
    "prior": {"class_path": "StandardNormal"},
    "context": {"class_path": "SpatialContext", "init_args": {"channels": [8, 4]}},
    "latent_dim": 3,
    "class_conditional": True,
}

small_data = partial(Digits, levels=2)


def small_model(config=CONFIG, seed=0):
    """The model of the configuration, its weights a function of the seed."""
    torch.manual_seed(seed)
    return build(config, small_data().spec)


def small_fit(
    out: Path,
    *,
    model=None,
    data=None,
    objective=None,
    seed=0,
    resume=False,
    resume_changed=False,
    observer=None,
    progress=False,
    **training,
):
    """Train for a few steps, by default on one CPU process without a progress bar."""
    options = {"batch_size": 8, "validate_every": 4, "checkpoint_every": 3, "lr_warmup_steps": 0}
    options |= {"compile": "never", "precision": "float32"}  # the same laws on every processor
    return fit(
        model or small_model(),
        data or small_data(),
        TrainingOptions(**options | training),
        objective or Objective(),
        out=out,
        config=CONFIG,
        seed=seed,
        world=World(torch.device("cpu")),
        resume=resume,
        resume_changed=resume_changed,
        observer=observer,
        progress=progress,
    )
