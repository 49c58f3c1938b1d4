"""Laws, training and speed on an accelerator, in one command: ``python scripts/cuda.py``. Works offline."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonargparse
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from pixelvae import (
    Categorical,
    DataSpec,
    DiagonalBiLSTM,
    Factorised,
    GatedPixelCNN,
    PixelCNN,
    RowLSTM,
    VectorContext,
    WaveNet,
)
from pixelvae.commands.train import parser
from pixelvae.devices import choose_device
from pixelvae.distributed import World, connect, has_fast_bfloat16
from pixelvae.evaluation.bounds import evaluate_bound
from pixelvae.evaluation.timing import interleaved
from pixelvae.models.assembly import assemble
from pixelvae.models.base import DecoderFactory, GenerativeModel
from pixelvae.models.pixelvae import AutoregressiveModel
from pixelvae.reporting.provenance import command_line, environment
from pixelvae.storage import write_json
from pixelvae.training.loop import fit
from pixelvae.training.objective import Objective
from pixelvae.training.options import TrainingOptions
from pixelvae.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
DEMO = ROOT / "configs/mnist5k/pixelvae.yaml"
DEMO_ON_CPU = ROOT / "results/mnist5k/pixelvae/metrics.json"
LAWS = ("tests/decoders/test_laws.py", "tests/test_generation.py", "tests/evaluation", "tests/training/test_trainer.py")
IMAGE, SOUND = DataSpec((1, 28, 28), levels=2), DataSpec((1, 2047), levels=256)
# The network of scripts/benchmark.py; the others have about its number of parameters.
GATED = partial(GatedPixelCNN, num_layers=9, channels=32, kernel_size=3, first_kernel_size=7, head_channels=64)
DECODERS: dict[str, tuple[DecoderFactory, DataSpec]] = {
    "GatedPixelCNN": (GATED, IMAGE),
    "PixelCNN": (partial(PixelCNN, num_layers=7, channels=32, head_channels=64), IMAGE),
    "RowLSTM": (partial(RowLSTM, num_layers=4, channels=32, head_channels=64), IMAGE),
    "DiagonalBiLSTM": (partial(DiagonalBiLSTM, num_layers=3, channels=32, head_channels=64), IMAGE),
    "WaveNet": (partial(WaveNet, num_stacks=2, num_layers_per_stack=10, channels=32, head_channels=64), SOUND),
    "Factorised": (partial(Factorised, channels=32), IMAGE),
}
PEAK_SIZE, BATCH_SIZES = 8192, (64, 256)
# The same with tiny sizes, which tests run on the CPU.
QUICK_IMAGE, QUICK_SOUND, QUICK_PEAK_SIZE, QUICK_BATCH_SIZES = DataSpec((1, 6, 6), 2), DataSpec((1, 12), 4), 64, (4,)
QUICK_DEMO = (
    "--train.steps=2", "--train.batch_size=4", "--train.validation_images=20", "--decoder.num_layers=1",
    "--decoder.channels=4", "--encoder.channels=[4,4]", "--context.channels=[4,4]",
)  # fmt: skip


def main(
    out: Path = Path("results/benchmark/cuda.json"),
    device: str = "auto",
    quick: bool = False,
    laws: bool = True,
    repeats: int = 5,
) -> None:
    """Run the laws, train the demo, measure training and sampling of every decoder; print a table, write a file.

    Args:
        out: The JSON file.
        device: auto takes the accelerator; cpu is accepted for a trial of the command.
        quick: Whether to use tiny sizes, for a trial; the speeds are then meaningless.
        laws: Whether to run the tests on the device first; needs pytest.
        repeats: Number of interleaved repeats; the median is reported.
    """
    if device == "auto" and choose_device().type == "cpu":
        print("This machine has no accelerator that torch can use; for a trial: --device cpu --quick", file=sys.stderr)
        raise SystemExit(2)
    world = connect(device)
    result: dict[str, Any] = {"device": name_of(world.device), "quick": quick}
    result["laws"] = run_laws(world.device, quick) if laws else "not run"
    result["demo"] = train_demo(world, quick)
    result |= training(world, quick, repeats)
    result["sampling"] = sampling(world.device, quick, repeats)
    result |= {"repeats": repeats, "environment": environment(), "command": command_line()}
    write_json(out, result)
    print(table(result))
    print(f"Written to {out}")
    if result["laws"] == "failed":
        raise SystemExit(1)


def name_of(device: torch.device) -> str:
    """The name of the card, or the kind of device."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def run_laws(device: torch.device, quick: bool) -> str:
    """Run the tests with a ``device`` argument on this device: passed, failed, or the reason why they did not run."""
    if importlib.util.find_spec("pytest") is None or not (ROOT / "tests").is_dir():
        return "not run: needs pytest and the repository's tests"
    chosen = f"{device.type} and factorised and params_never" if quick else device.type
    command = [sys.executable, "-m", "pytest", *(LAWS[:1] if quick else LAWS), "-k", chosen]
    return "passed" if subprocess.run(command, cwd=ROOT, check=False).returncode == 0 else "failed"


def train_demo(world: World, quick: bool) -> dict[str, Any]:
    """The bound of the demo's model in nats after training on this device, and the committed result of a CPU."""
    options = parser()
    parsed = options.parse_args(["--config", str(DEMO), *(QUICK_DEMO if quick else ())])
    given, config = options.instantiate(parsed), yaml.safe_load(options.dump(parsed))
    parts = ("likelihood", "decoder", "encoder", "prior", "context", "latent_dim", "class_conditional")
    torch.manual_seed(given["seed"])
    model = assemble(given["data"].spec, **{name: given[name] for name in parts})
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            model, given["data"], given["train"], given["objective"], out=Path(folder), config=config,
            seed=given["seed"], world=world,
        )  # fmt: skip
    bounds = evaluate_bound(fitted.model, given["data"].test, seed=0, world=world, max_images=20 if quick else None)
    progress = fitted.progress
    return {
        "elbo_nats": bounds.elbo,
        "elbo_nats_on_cpu": json.loads(DEMO_ON_CPU.read_text())["elbo_nats"],
        "train_steps": progress.step,
        "train_seconds": progress.train_seconds,
    }


def training(world: World, quick: bool, repeats: int) -> dict[str, Any]:
    """Images/s of whole updates of the 32-channel network, and their share of the card's peak rate."""
    spec, sizes = (QUICK_IMAGE, QUICK_BATCH_SIZES) if quick else (IMAGE, BATCH_SIZES)
    kinds: dict[str, Any] = {"float32, eager": ("float32", "never")}
    if has_fast_bfloat16(world.device):
        kinds |= {"bfloat16, eager": ("bf16-mixed", "never")}
        kinds |= {} if quick else {"bfloat16, compiled": ("bf16-mixed", "always")}
    rows = []
    for size in sizes:
        works: dict[str, Callable[[], object]] = {
            kind: step(world, spec, size, precision, compiled) for kind, (precision, compiled) in kinds.items()
        }
        with FlopCounterMode(display=False) as counter:
            works["float32, eager"]()
        works["peak"] = product(QUICK_PEAK_SIZE if quick else PEAK_SIZE, world.device)
        times = interleaved(works, repeats, world.device)
        peak = 2 * (QUICK_PEAK_SIZE if quick else PEAK_SIZE) ** 3 / times.pop("peak")
        flops = counter.get_total_flops()
        rows += [
            {"step": kind, "batch": size, "images_per_second": size / t, "share_of_peak": flops / t / peak}
            for kind, t in times.items()
        ]
    return {"training": rows, "peak_tflop_per_second": peak / 1e12, "gflop_per_image": flops / size / 1e9}


def step(world: World, spec: DataSpec, batch_size: int, precision: Any, compiled: Any) -> Callable[[], object]:
    """One update of the Trainer, including the copy to the device."""
    torch.manual_seed(0)
    options = TrainingOptions(batch_size=batch_size, precision=precision, compile=compiled)
    trainer = Trainer(network(GATED, spec), options, Objective(), world, seed=0)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, spec.levels, (batch_size, *spec.shape), generator=generator)
    y = torch.zeros(batch_size, 0, dtype=torch.long)
    return lambda: trainer.update(x, y)


def product(size: int, device: torch.device) -> Callable[[], object]:
    """A bfloat16 product of two large matrices, 2·size³ floating-point operations."""
    a, b = torch.randn(2, size, size, device=device).to(torch.bfloat16)
    return lambda: a @ b


def network(decoder: DecoderFactory, spec: DataSpec) -> GenerativeModel:
    """A decoder without conditioning, with random weights."""
    return AutoregressiveModel(spec, likelihood=Categorical, decoder=decoder, context=VectorContext)


@torch.inference_mode()
def sampling(device: torch.device, quick: bool, repeats: int) -> list[dict[str, Any]]:
    """Samples/s of every decoder with the fastest executor of the device, including draws."""
    rows = []
    for name, (decoder, spec) in DECODERS.items():
        small = (QUICK_IMAGE if len(spec.sites) == 2 else QUICK_SOUND) if quick else spec
        torch.manual_seed(0)
        model = network(decoder, small).to(device).to(memory_format=torch.channels_last).eval()
        for size in QUICK_BATCH_SIZES if quick else BATCH_SIZES:
            (taken,) = interleaved({name: partial(model.sample, size, seed=0)}, repeats, device).values()
            rows.append({"decoder": name, "batch": size, "samples_per_second": size / taken})
    return rows


def table(result: dict[str, Any]) -> str:
    """Format the result in lines of at most 80 characters."""
    demo = result["demo"]
    lines = [
        f"{result['device']}: {result['peak_tflop_per_second']:.3g} TFLOP/s of bfloat16 products",
        f"laws: {result['laws']}",
        f"demo: ELBO {demo['elbo_nats']:.2f} nats in {demo['train_seconds']:.0f} s "
        f"(trained on a CPU: {demo['elbo_nats_on_cpu']:.2f})",
        f"\n{'training step':24}{'batch':>6}{'images/s':>12}{'of the peak':>13}",
        *(
            f"{row['step']:24}{row['batch']:6}{row['images_per_second']:12.0f}{row['share_of_peak']:13.1%}"
            for row in result["training"]
        ),
        f"\n{'decoder':24}{'batch':>6}{'samples/s':>12}",
        *(f"{row['decoder']:24}{row['batch']:6}{row['samples_per_second']:12.2f}" for row in result["sampling"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    jsonargparse.auto_cli(main)
