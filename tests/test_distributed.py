"""Two processes train as one with the joint batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pixelvae.checkpoint import Progress, load_training, save_model
from pixelvae.distributed import World, connect, resolve_precision
from pixelvae.training.loop import Observer
from small_runs import CONFIG, small_fit, small_model

TESTS = Path(__file__).parent
SCRIPT = """
import sys, torch
from pathlib import Path
from pixelvae.distributed import connect
from pixelvae.training.objective import Objective
from pixelvae.training.trainer import Training
from pixelvae.training.loop import fit
from pixelvae.models.assembly import build
from small_runs import CONFIG, small_data, small_model

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
world = connect("cpu")
training = Training(steps=4, batch_size=int(sys.argv[2]), compile="never", validate_every=4, checkpoint_every=4)
objective = Objective(**{sys.argv[3]: float(sys.argv[4])})
fit(small_model(), small_data(), training, objective, out=Path(sys.argv[1]), config=CONFIG, seed=0,
    world=world, progress=False)
world.close()
"""


def launch(out, processes, batch_size, *objective):
    script = out.with_suffix(".py")
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    arguments = [str(script), str(out), str(batch_size), *objective]
    subprocess.run([*command, *arguments], check=True, env=environment, timeout=120)
    return load_training(out / "last", torch.device("cpu"))


@pytest.mark.parametrize("objective", [("free_bits", "0.01"), ("rate", "3.0")])
def test_two_ranks_equal_one_rank_with_the_double_batch(tmp_path, objective):
    one, two = launch(tmp_path / "one", 1, 16, *objective), launch(tmp_path / "two", 2, 8, *objective)
    assert one["progress"]["images_seen"] == two["progress"]["images_seen"] == 64
    assert one["best_elbo"] == pytest.approx(two["best_elbo"], abs=1e-9)
    for name, weight in one["average"].items():
        torch.testing.assert_close(weight, two["average"][name], rtol=1e-9, atol=1e-11, msg=name)


def test_two_ranks_draw_the_samples_of_one(tmp_path):
    """Each draws its share; sample i depends on seed + i alone."""
    save_model(tmp_path / "best", small_model(), CONFIG, Progress())
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    drawn = []
    for processes in (1, 2):
        out = tmp_path / str(processes)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        arguments = [str(TESTS.parent / "scripts/sample.py"), str(tmp_path / "best"), f"--out={out}"]
        subprocess.run([*command, *arguments, "--stepper=eager"], check=True, env=environment, timeout=120)
        drawn.append(load_file(out / "samples.safetensors")["x"])
    assert torch.equal(*drawn)


def test_a_device_that_is_not_there_is_an_error():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(ValueError, match="set device: cpu"):
        connect("cuda")


def test_automatic_precision_never_takes_emulated_bfloat16(monkeypatch):
    cpu = torch.device("cpu")
    for supported, wanted in ((False, "float32"), (True, "bf16-mixed")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda supported=supported: supported)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert resolve_precision("auto", cpu) == wanted
    assert resolve_precision("bf16-mixed", cpu) == "bf16-mixed"


def test_bfloat16_training_stays_near_float32(tmp_path):
    """The same weights and batch: the loss differs by less than a thousandth."""

    class Loss(Observer):
        def on_step(self, record):
            self.loss = record.loss

    losses = []
    for precision in ("float32", "bf16-mixed"):
        seen = Loss()
        small_fit(tmp_path / precision, steps=1, observer=seen, precision=precision)
        losses.append(seen.loss)
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_alone_every_reduction_is_the_identity():
    world, value = World(torch.device("cpu")), torch.tensor([1.0, 2.0])
    assert world.mean(value) is value
    assert torch.equal(world.sum(value), value)
    assert world.any(True)
    assert not world.any(False)
