"""What benchmark.py measures beside GatedPixelCNN: cached sampling of the others, training at equal parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from pixelvae import Categorical, VectorContext, WaveNet
from pixelvae.checkpoint import build
from pixelvae.data import DataSpec
from pixelvae.decoders.base import StepperKind
from pixelvae.distributed import World
from pixelvae.generation import decode, generators
from pixelvae.models.base import GenerativeModel
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer
from timing import interleaved

LINEAGE = ("gated_pixelcnn", "pixelcnn", "row_lstm", "diagonal_bilstm")  # configs/mnist/NAME.yaml: equal parameters
BINARY = DataSpec((1, 28, 28), levels=2)
TRAINING_BATCH = 32
# Two stacks of dilations 1 .. 512: a field of 2 * 1023 + 1 samples, and one sound just as long.
wavenet = partial(WaveNet, num_stacks=2, num_layers_per_stack=10, channels=32, head_channels=64)
SOUND = DataSpec((1, 2047), levels=256)


def family(repeats: int, device: torch.device) -> dict[str, Any]:
    """Rows of sampling, and seconds of a training step in units of GatedPixelCNN's."""
    rows = []
    for name in LINEAGE:
        kinds: tuple[StepperKind, ...] = ("eager", "compiled") if name == "gated_pixelcnn" else ("eager",)
        rows += sampling_rows(name, lineage_model(name, device), (1, 64), kinds, repeats, device)
    rows += sampling_rows("wavenet", wavenet_model(device), (1, 64), ("eager", "compiled"), repeats, device)
    steps = interleaved({name: training_step(name, device) for name in LINEAGE}, repeats, device)
    return {
        "sampling": rows,
        "training_batch": TRAINING_BATCH,
        "training_step_seconds": steps,
        "training_step_in_gated_pixelcnn_steps": {name: t / steps["gated_pixelcnn"] for name, t in steps.items()},
    }


def lineage_model(name: str, device: torch.device) -> GenerativeModel:
    """The network of configs/mnist/NAME.yaml, untrained."""
    torch.manual_seed(0)
    return build(yaml.safe_load(Path(f"configs/mnist/{name}.yaml").read_text()), BINARY).to(device).eval()


def wavenet_model(device: torch.device) -> GenerativeModel:
    """A WaveNet without conditioning."""
    torch.manual_seed(0)
    return AutoregressiveModel(SOUND, likelihood=Categorical, decoder=wavenet, context=VectorContext).to(device).eval()


def training_step(name: str, device: torch.device) -> Callable[[], object]:
    """One update as ``fit`` makes it, without torch.compile."""
    options = TrainingOptions(batch_size=TRAINING_BATCH, compile="never")
    trainer = Trainer(lineage_model(name, device), options, Objective(), World(device), seed=0)
    x = torch.randint(0, 2, (TRAINING_BATCH, *BINARY.shape), generator=torch.Generator().manual_seed(0))
    y = torch.zeros(TRAINING_BATCH, 0, dtype=torch.long)
    return lambda: trainer.update(x, y)


def sampling_rows(
    case: str,
    model: GenerativeModel,
    batch_sizes: Sequence[int],
    kinds: Sequence[StepperKind],
    repeats: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """A row for each batch size."""
    kinds = kinds if device.type == "cpu" else ("eager",)
    rows = []
    for batch_size in batch_sizes:
        rows.append({"case": case, "batch": batch_size} | sampling_row(model, batch_size, kinds, repeats, device))
        print(json.dumps(rows[-1]))
    return rows


def sampling_row(
    model: GenerativeModel, batch_size: int, kinds: Sequence[StepperKind], repeats: int, device: torch.device
) -> dict[str, Any]:
    """One batch size: seconds of a forward pass, of each stepper's whole walk, and their ratios."""
    spec = model.spec
    visits = spec.num_dims if model.decoder.channel_masked else spec.num_dims // spec.channels
    x = torch.zeros(batch_size, *spec.shape, dtype=torch.long, device=device)

    def walk(stepper: StepperKind) -> Callable[[], Tensor]:
        return lambda: decode(model, None, None, generators(0, batch_size, device), stepper=stepper)

    def forward() -> Tensor:
        with torch.inference_mode():
            return model.decoder(x)

    times = interleaved({"forward": forward} | {kind: walk(kind) for kind in kinds}, repeats, device)
    naive = times["forward"] * visits
    return {
        "forward_seconds": times["forward"],
        "naive_seconds": naive,
        **{f"{kind}_seconds": times[kind] for kind in kinds},
        **{f"{kind}_speedup": naive / times[kind] for kind in kinds},
        **{f"{kind}_forward_passes": times[kind] / times["forward"] for kind in kinds},
        **{f"{kind}_sites_per_second": batch_size * visits / times[kind] for kind in kinds},
    }
