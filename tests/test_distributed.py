"""Two processes train and evaluate as one with the joint batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ranks
from pixelvae.checkpoint import Progress, load_training, save_model
from pixelvae.commands.sample import main as sample
from pixelvae.distributed import TIMEOUT, World, connect, resolve_precision
from pixelvae.training.loop import Observer
from small_runs import CONFIG, small_fit, small_model

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
CPU = torch.device("cpu")


def launch(processes, *arguments):
    """Run a script under torchrun, in which any warning of ours would be an error."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    path = os.pathsep.join(map(str, (TESTS.parent, TESTS)))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, *map(str, arguments)], check=True, env=environment, timeout=300)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """What a pair of processes wrote: see ranks.py."""
    out = tmp_path_factory.mktemp("ranks")
    launch(2, TESTS / "ranks.py", out)
    return out


@pytest.mark.parametrize("name", [name for name, _, _ in ranks.cases()])
def test_two_ranks_equal_one_rank_with_the_double_batch(two_ranks, name):
    """Weights and measurements after two steps, and both bounds of a split that the ranks share unequally."""
    differences = json.loads((two_ranks / "differences.json").read_text())[name]
    assert set(differences) == {"weights", "measurements", "bounds"}
    assert max(differences.values()) < 1e-11


def test_a_run_of_two_ranks_is_the_run_of_one(two_ranks):
    """Order of the data, validation and checkpoints included."""
    one, two = (load_training(two_ranks / name / "last", CPU) for name in ("one", "two"))
    assert one["progress"]["images_seen"] == two["progress"]["images_seen"] == 64
    assert one["best_elbo"] == pytest.approx(two["best_elbo"], abs=1e-9)
    for name, weight in one["average"].items():
        torch.testing.assert_close(weight, two["average"][name], rtol=1e-9, atol=1e-11, msg=name)


def test_a_signal_to_one_rank_stops_all_after_the_same_step(two_ranks):
    """They agree every ten steps."""
    assert json.loads((two_ranks / "stopped.json").read_text()) == [10, 10]


def test_two_ranks_draw_the_samples_of_one(tmp_path):
    """Each draws its share; sample i depends on seed + i alone."""
    save_model(tmp_path / "best", small_model(), CONFIG, Progress())
    sample(tmp_path / "best", out=tmp_path / "1", stepper="eager")
    launch(2, TESTS.parent / "scripts/sample.py", tmp_path / "best", f"--out={tmp_path / '2'}", "--stepper=eager")
    drawn = [load_file(tmp_path / name / "samples.safetensors")["x"] for name in ("1", "2")]
    assert torch.equal(*drawn)


@pytest.fixture
def under_torchrun(monkeypatch):
    """Process 1 of 2, on a machine that the test describes; what was joined and how."""
    joined = {}
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: joined.update(current=device))
    monkeypatch.setattr(
        torch.distributed, "init_process_group", lambda *args, **how: joined.update(backend=args, **how)
    )
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr("pixelvae.distributed.set_numerics", lambda device: None)
    return joined


def pretend(monkeypatch, kind, count=0):
    """An accelerator of a kind."""
    monkeypatch.setattr("pixelvae.distributed.choose_device", lambda name: torch.device(kind))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_rank_takes_the_device_of_its_local_number(monkeypatch, under_torchrun):
    pretend(monkeypatch, "cuda", count=2)
    assert connect() == World(torch.device("cuda:1"), rank=1, size=2)
    device = torch.device("cuda:1")
    assert under_torchrun == {"current": device, "backend": ("nccl",), "device_id": device, "timeout": TIMEOUT}


def test_ranks_without_cuda_share_the_cpu(monkeypatch, under_torchrun):
    for kind in ("cpu", "mps"):
        pretend(monkeypatch, kind)
        assert connect().device == CPU
        assert under_torchrun == {"backend": ("gloo",), "timeout": TIMEOUT}


def test_ranks_that_cannot_have_a_device_are_refused(monkeypatch, under_torchrun):
    pretend(monkeypatch, "cuda", count=1)
    with pytest.raises(ValueError, match="process 1 here, but this machine has 1 CUDA devices; set --nproc-per-node=1"):
        connect()
    pretend(monkeypatch, "mps")
    with pytest.raises(ValueError, match="device='mps' cannot be shared by several processes; set device: cpu"):
        connect("mps")


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
