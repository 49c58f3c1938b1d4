"""Speed of sampling, as ratios within one run, which are robust to noise: ``python scripts/benchmark.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from tqdm import tqdm

from pixelvae import (
    Categorical,
    ConvEncoder,
    Digits,
    DiscretizedLogisticMixture,
    StandardNormal,
    VectorContext,
    WaveNet,
)
from pixelvae.commands.cli import run_script
from pixelvae.data import Batches, DataSpec
from pixelvae.decoders.base import StepperKind
from pixelvae.decoders.gated_pixelcnn import GatedPixelCNN
from pixelvae.distributed import Precision, World
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.evaluation.timing import interleaved, sampling_row, use_rows
from pixelvae.models.assembly import assemble, build
from pixelvae.models.base import GenerativeModel, LikelihoodFactory
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.reporting.figures import save_figure
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.reporting.speed import speed_figure
from pixelvae.storage import write_json
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

# The network of every figure here: one gated 7x7 layer, then eight gated layers of 3x3, 32 channels.
decoder = partial(GatedPixelCNN, num_layers=9, channels=32, kernel_size=3, first_kernel_size=7, head_channels=64)
BINARY, GREY = DataSpec((1, 28, 28), levels=2), DataSpec((1, 28, 28), levels=256)
CONTEXT_DIM = 32
PRECISION_STEPS = 400
LINEAGE = ("gated_pixelcnn", "pixelcnn", "row_lstm", "diagonal_bilstm")  # configs/mnist/NAME.yaml: equal parameters
LINEAGE_BATCH = 32
# Two stacks of dilations 1 .. 512: a receptive field of 2 * 1023 + 1 samples, and a sound of the same length.
wavenet = partial(WaveNet, num_stacks=2, num_layers_per_stack=10, channels=32, head_channels=64)
SOUND = DataSpec((1, 2047), levels=256)


def main(
    out: Path = Path("results/benchmark"), repeats: int = 5, threads: int = 2, only: str = "all", device: str = "cpu"
) -> None:
    """Measure sampling, the other decoders and precision, and write JSON files and a figure.

    Args:
        out: Folder for sampling.json, family.json, precision.json and benchmark.png.
        repeats: Number of interleaved repeats; the median is reported.
        threads: CPU threads.
        only: sampling, family (the other decoders), precision or all.
        device: Device to measure on.
    """
    measures = {"sampling": sampling, "family": family, "precision": precision}
    if only not in ("all", *measures):
        raise ValueError(f"only={only!r}; wanted all, {', '.join(measures)}")
    torch.set_num_threads(threads)
    for name, measure in measures.items():
        if only in ("all", name):
            result = measure(repeats, torch.device(device)) | {"command": command_line()}
            result |= {"environment": environment(), "repeats": repeats, "threads": threads}
            write_json(out / f"{name}.json", result)
            print(json.dumps(result, indent=2))
    files = {name: out / f"{name}.json" for name in ("training", "sampling")}
    if all(path.is_file() for path in files.values()):
        save_figure(
            speed_figure(**{name: json.loads(path.read_text()) for name, path in files.items()}),
            out / "benchmark.png",
        )
        print(f"Written to {out}")


def precision(repeats: int, device: torch.device) -> dict[str, Any]:
    """Test ELBO in nats after equal numbers of steps on 8x8 digits, in float32 and in bfloat16 autocast."""
    data, world = Digits(levels=2), World(device)
    result: dict[str, Any] = {"steps": PRECISION_STEPS, "batch_size": 32}
    kinds: tuple[Precision, ...] = ("float32", "bf16-mixed")
    for kind in kinds:
        torch.manual_seed(0)
        model = AutoregressiveModel(
            data.spec._replace(num_classes=()),
            likelihood=Categorical,
            decoder=partial(GatedPixelCNN, num_layers=4, channels=16, first_kernel_size=3),
            context=VectorContext,
        )
        options = TrainingOptions(steps=PRECISION_STEPS, batch_size=32, precision=kind, compile="never")
        trainer = Trainer(model, options, Objective(), world, seed=0)
        keys = iter(Batches(len(data.train), 32, seed=0))
        for _ in tqdm(range(PRECISION_STEPS), desc=kind, leave=False):
            trainer.update(*data.train[next(keys)])
        result[f"{kind}_test_elbo_nats"] = evaluate_bound(trainer.averaged_model, data.test, seed=0, world=world).elbo
    result["difference_nats"] = result["bf16-mixed_test_elbo_nats"] - result["float32_test_elbo_nats"]
    return result


def sampling(repeats: int, device: torch.device) -> dict[str, Any]:
    """Speed of each executor, including draws, relative to one full forward pass per pixel; other uses of the walk."""
    cases: dict[str, tuple[DataSpec, int, tuple[int, ...]]] = {
        "28x28, 2 levels, 32 latents": (BINARY, CONTEXT_DIM, (1, 16, 64, 256)),
        "28x28, 2 levels": (BINARY, 0, (1, 16, 64, 256)),
        "28x28, 256 levels": (GREY, 0, (1, 64)),
        "32x32 RGB, 256 levels": (DataSpec((3, 32, 32), levels=256), 0, (1, 16)),
    }
    rows = []
    for case, (spec, latent_dim, batch_sizes) in cases.items():
        model = benchmark_model(spec, latent_dim, device)
        rows += sampling_rows(case, model, batch_sizes, ("eager", "compiled"), repeats, device)
    models = {
        "softmax of 2": benchmark_model(BINARY, 0, device),
        "softmax of 256": benchmark_model(GREY, 0, device),
        "mixture of 256": benchmark_model(GREY, 0, device, DiscretizedLogisticMixture),
    }
    return {"rows": rows, "uses_batch": 64, "uses_seconds": use_rows(models, 64, repeats, device)}


def sampling_rows(
    case: str,
    model: GenerativeModel,
    batch_sizes: Sequence[int],
    kinds: Sequence[StepperKind],
    repeats: int,
    device: torch.device,
) -> list[dict[str, Any]]:
    """One row for each batch size."""
    kinds = kinds if device.type == "cpu" else ("eager",)
    rows = []
    for batch_size in batch_sizes:
        flops = model.decoder.forward_flops() if isinstance(model.decoder, GatedPixelCNN) else None
        row = sampling_row(model, batch_size, kinds, repeats, device, forward_flops=flops)
        rows.append({"case": case, "batch": batch_size} | row)
        print(json.dumps(rows[-1]))
    return rows


def benchmark_model(
    spec: DataSpec, latent_dim: int, device: torch.device, likelihood: LikelihoodFactory = Categorical
) -> GenerativeModel:
    """The benchmark network, with or without latents; 33 channels for RGB, a multiple of 3."""
    torch.manual_seed(0)
    widths = {"channels": 33, "head_channels": 66} if spec.channels == 3 else {}
    model = assemble(
        spec,
        likelihood=likelihood,
        decoder=partial(decoder, **widths),
        encoder=partial(ConvEncoder, channels=(4,)) if latent_dim else None,
        prior=StandardNormal if latent_dim else None,
        context=VectorContext,
        latent_dim=latent_dim,
        class_conditional=False,
    )
    return model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def family(repeats: int, device: torch.device) -> dict[str, Any]:
    """Rows of sampling, and the time of a training step relative to GatedPixelCNN."""
    rows = []
    for name in LINEAGE:
        rows += sampling_rows(name, lineage_model(name, device), (1, 64), ("eager", "compiled"), repeats, device)
    rows += sampling_rows("wavenet", wavenet_model(device), (1, 64), ("eager", "compiled"), repeats, device)
    steps = interleaved({name: lineage_step(name, device) for name in LINEAGE}, repeats, device)
    return {
        "sampling": rows,
        "training_batch": LINEAGE_BATCH,
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


def lineage_step(name: str, device: torch.device) -> Callable[[], object]:
    """One update of ``fit``, without torch.compile."""
    options = TrainingOptions(batch_size=LINEAGE_BATCH, compile="never")
    trainer = Trainer(lineage_model(name, device), options, Objective(), World(device), seed=0)
    x = torch.randint(0, 2, (LINEAGE_BATCH, *BINARY.shape), generator=torch.Generator().manual_seed(0))
    y = torch.zeros(LINEAGE_BATCH, 0, dtype=torch.long)
    return lambda: trainer.update(x, y)


if __name__ == "__main__":
    run_script(main)
