"""Every test starts with the same seed. Fixtures: float64, a device, checkpoints."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pixelvae.checkpoint import Progress, save_model
from pixelvae.devices import set_numerics
from small_runs import CONFIG, small_model

TESTS = Path(__file__).parent
DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
torch.set_num_threads(1)  # the networks of the tests are too small to share


running = []  # the test that runs now


def require_mark(event, arguments):
    """A test that starts a Python process waits for it, on a busy machine for long: it is marked slow."""
    if event == "subprocess.Popen" and running and Path(str(arguments[0])).name.startswith("python"):
        frame = sys._getframe(1)
        while frame.f_code.co_filename == subprocess.__file__:
            frame = frame.f_back
        ours = Path(frame.f_code.co_filename).parent.is_relative_to(TESTS)  # libraries start processes too
        marked = running[-1].get_closest_marker("slow")
        assert marked or not ours, f"mark {running[-1].nodeid} slow; it starts {arguments[1]}"


sys.addaudithook(require_mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    running.append(item)
    try:
        return (yield)
    finally:
        running.pop()


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def float64():
    """All tensors of the test are float64, so that a tolerance separates rounding from errors."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=DEVICES)
def device(request):
    """The CPU, and CUDA where there is one."""
    where = torch.device(request.param)
    set_numerics(where)
    return where


@pytest.fixture
def on_device(device):
    """Everything made in the test is on the device."""
    if device.type != "cpu":
        torch.set_default_device(device)
    yield
    if device.type != "cpu":
        torch.set_default_device(None)


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


@pytest.fixture(scope="session", autouse=True)
def signals_as_in_a_terminal():
    """A suite started in the background ignores Ctrl-C and hang-ups, and runs leave ignored signals alone."""
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_terminal_summary(terminalreporter):
    """Say how many laws (functions and examples of docstrings) and how many cases of them ran."""
    ran = [r.nodeid for kind in ("passed", "failed") for r in terminalreporter.getreports(kind) if r.when == "call"]
    laws = {name.partition("[")[0] for name in ran}
    terminalreporter.write_line(f"{len(laws):,} laws in {len(ran):,} cases")
