"""The command for accelerators, on the CPU with tiny sizes."""

import json

import pytest
import torch

from load_script import load_script

CUDA = load_script("cuda")


def test_it_runs_through_on_the_cpu(tmp_path, capsys):
    out = tmp_path / "cuda.json"
    CUDA.main(out, device="cpu", quick=True, laws=False, repeats=1)
    result = json.loads(out.read_text())
    assert result["device"] == "cpu"
    assert {row["decoder"] for row in result["sampling"]} == set(CUDA.DECODERS)
    rates = [row["samples_per_second"] for row in result["sampling"]]
    rates += [row[key] for row in result["training"] for key in ("images_per_second", "share_of_peak")]
    assert min(rates) > 0
    assert result["demo"]["train_steps"] == 2
    printed = capsys.readouterr().out
    assert all(name in printed for name in CUDA.DECODERS)
    assert "laws: not run" in printed


def test_without_an_accelerator_it_says_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(CUDA, "choose_device", lambda: torch.device("cpu"))
    with pytest.raises(SystemExit) as exit_:
        CUDA.main(tmp_path / "cuda.json")
    assert exit_.value.code == 2
    assert "no accelerator" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("status", "said"), [(0, "passed"), (1, "failed")])
def test_the_laws_of_the_device_are_chosen_by_its_name(monkeypatch, status, said):
    commands = []

    def run(command, **_):
        commands.append(command)
        return type("Done", (), {"returncode": status})

    monkeypatch.setattr(CUDA.subprocess, "run", run)
    assert CUDA.run_laws(torch.device("cuda:0"), quick=False) == said
    assert commands[0][-1] == "cuda"
    assert set(CUDA.LAWS) <= set(commands[0])


def test_the_flops_of_a_step_are_three_times_those_of_a_forward_pass():
    """Within a tenth: the input of the first layer needs no gradient."""
    result = CUDA.training(CUDA.World(torch.device("cpu")), True, 1)
    forward = CUDA.network(CUDA.GATED, CUDA.QUICK_IMAGE).decoder.forward_flops()
    assert result["gflop_per_image"] * 1e9 == pytest.approx(3 * forward, rel=0.1)
