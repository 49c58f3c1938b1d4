"""Resuming is guarded: what differs is listed, what was accepted is remembered, and one process writes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import filelock
import pytest
import torch
import yaml

from pixelvae.checkpoint import (
    CheckpointError,
    Progress,
    is_run,
    load,
    load_config,
    load_progress,
    load_training,
    save_model,
)
from pixelvae.data import Digits
from pixelvae.reporting.tensorboard import TensorBoardObserver
from pixelvae.training import loop
from pixelvae.training.loop import Observer
from pixelvae.training.objective import Objective
from pixelvae.training.run_folder import RunLockedError, differences, only_writer
from pixelvae.training.trainer import TrainingDivergedError
from small_runs import CONFIG, small_data, small_fit, small_model

DATA = small_data()
TESTS = Path(__file__).parent.parent


def start(out, steps=2, **options):
    return small_fit(out, data=DATA, steps=steps, validation_images=10, **options)


class At(Observer):
    """Do something at a step."""

    def __init__(self, step, act):
        self.step, self.act, self.started = step, act, []

    def on_start(self, step):
        self.started.append(step)

    def on_step(self, record):
        if record.step == self.step:
            self.act()


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ({"batch_size": 4}, "train.batch_size: 8 -> 4"),
        ({"learning_rate": 0.5}, "train.learning_rate: 0.002 -> 0.5"),
        ({"weight_decay": 0.1}, "train.weight_decay: 0.0 -> 0.1"),
        ({"objective": Objective(free_bits=1.0)}, "objective.free_bits: 0.0 -> 1.0"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"data": Digits(levels=17), "model": small_model()}, r"data \(their values\): \w{12} -> \w{12}"),
        ({"batch_size": 4, "clip_norm": 1.0}, "train.batch_size: 8 -> 4; train.clip_norm: 50.0 -> 1.0"),
    ],
)
def test_what_differs_is_refused_and_listed(tmp_path, options, listed):
    start(tmp_path)
    before = (tmp_path / "last/training.pt").read_bytes()
    with pytest.raises(ValueError, match=listed) as caught:
        small_fit(tmp_path, **{"data": DATA, "steps": 4, "validation_images": 10, "resume": True} | options)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "last/training.pt").read_bytes() == before


def test_more_steps_workers_and_checkpoints_are_free(tmp_path):
    start(tmp_path)
    assert start(tmp_path, steps=3, checkpoint_every=1, num_workers=1, resume=True).progress.step == 3


def test_fewer_steps_than_done_are_an_error_even_if_changes_are_accepted(tmp_path):
    start(tmp_path)
    with pytest.raises(ValueError, match=r"train.steps=1, but the run in .* has done 2; set train.steps to more"):
        start(tmp_path, steps=1, resume=True, resume_changed=True)


def test_an_accepted_change_takes_effect_and_is_remembered(tmp_path):
    start(tmp_path)
    start(tmp_path, steps=3, resume=True, resume_changed=True, weight_decay=0.25)
    history = json.loads((tmp_path / "history.json").read_text())
    assert [entry["step"] for entry in history] == [0, 2]
    assert history[1]["changes"] == {"train.weight_decay": [0.0, 0.25]}
    assert load_config(tmp_path / "last")["train"]["weight_decay"] == 0.25
    state = load_training(tmp_path / "last", torch.device("cpu"))
    assert [group["weight_decay"] for group in state["optimizer"]["param_groups"]] == [0.25]


def test_another_architecture_is_refused_in_one_line(tmp_path):
    start(tmp_path)
    decoder = {"class_path": "GatedPixelCNN", "init_args": CONFIG["decoder"]["init_args"] | {"channels": 6}}
    with pytest.raises(CheckpointError, match="last does not fit this model: ") as caught:
        start(tmp_path, steps=3, resume=True, model=small_model(CONFIG | {"decoder": decoder}))
    assert "\n" not in str(caught.value)


def test_differences_are_of_meaning_not_of_spelling():
    old = {"data": {"class_path": "pixelvae.MNIST", "init_args": {"levels": 2, "root": "a"}}, "train": {"steps": 5}}
    new = {"data": {"class_path": "MNIST", "init_args": {"levels": 2, "root": "b"}}, "train": {"steps": 9}}
    assert differences(old, new) == {}
    assert differences(new, old) == {"train.steps": [9, 5]}
    assert differences({"train": {}}, {"train": {"clip_norm": 50}}) == {}  # a default of a newer version
    assert differences({"train": {}}, {"train": {"clip_norm": 5}}) == {"train.clip_norm": [50.0, 5]}
    part = {"class_path": "ConvEncoder", "init_args": {"channels": [32, 64, 64]}}
    assert differences({"encoder": {"class_path": "ConvEncoder"}}, {"encoder": part}) == {}
    assert differences({"encoder": None}, {"encoder": part})["encoder"] == ["None", "ConvEncoder"]


def test_auto_starts_goes_on_and_leaves_a_finished_run_alone(tmp_path):
    assert start(tmp_path, resume="auto").progress.step == 2
    assert start(tmp_path, steps=3, resume="auto").progress.step == 3
    before = (tmp_path / "last/training.pt").read_bytes()
    assert start(tmp_path, steps=3, resume="auto").progress.step == 3
    assert (tmp_path / "last/training.pt").read_bytes() == before


def test_a_run_is_not_overwritten_and_neither_are_checkpoints_of_something_else(tmp_path):
    start(tmp_path / "run")
    with pytest.raises(ValueError, match=r"already holds a run; add --resume"):
        start(tmp_path / "run")
    save_model(tmp_path / "other/best", small_model(), CONFIG, Progress())
    with pytest.raises(ValueError, match=r"best exists, but holds no run that can be resumed; remove it"):
        start(tmp_path / "other")
    load(tmp_path / "other/best")


def test_a_run_of_version_0_1_resumes(tmp_path):
    """Three files without hashes, fingerprint or the options that came later."""
    start(tmp_path)
    state = load_training(tmp_path / "last", torch.device("cpu"))
    for name in ("validated", "data_fingerprint", "num_processes"):
        del state[name]
    config = load_config(tmp_path / "last")
    del config["train"]["weight_decay"]
    from safetensors.torch import load_file, save_file

    progress = json.dumps(state["progress"])
    spec = json.dumps(DATA.spec._asdict())
    path = tmp_path / "last/model.safetensors"
    save_file(load_file(path), path, {"format": "pixelvae", "version": "1", "spec": spec, "progress": progress})
    torch.save(state, tmp_path / "last/training.pt")
    (tmp_path / "last/config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "history.json").unlink()
    assert start(tmp_path, steps=3, resume=True).progress.step == 3


def test_one_process_writes_and_the_other_hears_who(tmp_path):
    with only_writer(tmp_path), pytest.raises(RunLockedError) as caught:
        start(tmp_path)
    assert f"out={tmp_path} is in use: process {os.getpid()} on {socket.gethostname()} trains there" in str(
        caught.value
    )
    start(tmp_path)
    assert not (tmp_path / ".lock.json").exists()


@pytest.mark.slow
def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, monkeypatch):
    """What a killed process leaves: its files, and for a moment loader processes that still hold the lock."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / ".lock").touch()
    (tmp_path / ".lock.json").write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid}))
    start(tmp_path)
    (tmp_path / ".lock.json").write_text(json.dumps({"host": socket.gethostname(), "pid": dead.pid}))
    held, waits = filelock.FileLock(tmp_path / ".lock"), []
    held.acquire()
    acquire = filelock.FileLock.acquire

    def wait(self, timeout=None, **options):
        waits.append(timeout)
        if timeout:
            held.release()
        return acquire(self, timeout=timeout, **options)

    monkeypatch.setattr(filelock.FileLock, "acquire", wait)
    start(tmp_path, steps=3, resume=True)
    assert waits == [0, 15]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_saves_and_is_reported_and_handlers_are_put_back(tmp_path, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    fitted = start(tmp_path, steps=9, observer=At(2, lambda: os.kill(os.getpid(), number)))
    assert (fitted.interrupted, fitted.signal, fitted.progress.step) == (True, number, 2)
    assert signal.getsignal(number) is before
    assert load(tmp_path / "best") is not None  # although no validation was due
    assert is_run(tmp_path)


def test_ignored_signals_stay_ignored(tmp_path):
    """As under nohup."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        fitted = start(tmp_path, steps=3, observer=At(2, lambda: os.kill(os.getpid(), signal.SIGHUP)))
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert not fitted.interrupted


class DuringValidation(Observer):
    """Send a signal at the first call of evaluate_bound, of on_health or of on_validation; keep what was validated."""

    def __init__(self, where):
        self.where, self.validated = where, []

    def send(self, where):
        if self.where == where:
            self.where = None
            os.kill(os.getpid(), signal.SIGTERM)

    def on_health(self, step, health):
        self.send("health")

    def on_validation(self, step, model, bounds):
        self.validated.append(step)
        self.send("validation")


@pytest.mark.parametrize("where", ["bound", "health", "validation"])
def test_a_signal_during_validation_abandons_it_and_the_resumed_run_makes_up_for_it(tmp_path, monkeypatch, where):
    options = {"steps": 6, "data": DATA, "checkpoint_every": 6, "validate_every": 2}
    for run in ("whole", "parts"):
        small_fit(tmp_path / run, **options | {"steps": 2})  # a best of step 2
    whole = small_fit(tmp_path / "whole", resume=True, **options)
    observer, evaluate = DuringValidation(where), loop.evaluate_bound

    def send_first(*args, **kwargs):
        observer.send("bound")
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(loop, "evaluate_bound", send_first)
    stopped = small_fit(tmp_path / "parts", resume=True, observer=observer, **options)
    assert (stopped.signal, stopped.progress.step) == (signal.SIGTERM, 4)
    assert observer.validated == ([4] if where == "validation" else [])  # what was left to do was not done
    resumed = small_fit(tmp_path / "parts", resume=True, observer=observer, **options)
    assert observer.validated == [4, 6]
    for a, b in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)
    elbo = [load_training(tmp_path / run / "last", torch.device("cpu"))["best_elbo"] for run in ("whole", "parts")]
    assert elbo[0] == elbo[1]
    weights = [load(tmp_path / run / "best").state_dict() for run in ("whole", "parts")]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_best_survives_resuming_when_later_validations_are_worse(tmp_path):
    small_fit(tmp_path, data=DATA, steps=4)
    before = (tmp_path / "best/model.safetensors").read_bytes()
    model = small_model()
    damage = At(5, lambda: [parameter.data.mul_(30) for parameter in model.parameters()])
    small_fit(
        tmp_path, data=DATA, steps=8, resume=True, model=model, observer=damage, learning_rate=2e-3, ema_decay=0.998
    )
    assert damage.started == [4]
    assert (tmp_path / "best/model.safetensors").read_bytes() == before


def test_divergence_names_the_checkpoints_that_are_good_and_keeps_them(tmp_path):
    model = small_model()

    def poison():
        with torch.no_grad():
            model.decoder.head.bias.fill_(float("nan"))

    with pytest.raises(TrainingDivergedError) as caught:
        small_fit(tmp_path, data=DATA, model=model, steps=12, observer=At(7, poison))
    assert f"{tmp_path}/best (step 4) is the best by validation" in str(caught.value)
    assert f"{tmp_path}/last (step 4) is the last with a finite validation" in str(caught.value)
    load(tmp_path / "best")
    load(tmp_path / "last")


def test_a_diverged_run_goes_back_to_its_last_finite_validation_and_resumes_from_there(tmp_path):
    """Later checkpoints have finite weights from which training diverges again."""
    whole = small_fit(tmp_path / "whole", data=DATA, steps=12)
    model = small_model()

    def spoil():
        with torch.no_grad():
            model.decoder.head.bias.fill_(1e30)  # finite, and saved at step 6

    def poison():
        with torch.no_grad():
            model.decoder.head.bias.fill_(float("nan"))

    class Twice(At):
        def on_step(self, record):
            super().on_step(record)
            if record.step == 7:
                poison()

    with pytest.raises(TrainingDivergedError, match=r"last \(step 4\) is the last with a finite validation"):
        small_fit(tmp_path / "parts", data=DATA, model=model, steps=12, observer=Twice(5, spoil))
    assert load_progress(tmp_path / "parts/last").step == 4
    resumed = small_fit(tmp_path / "parts", data=DATA, steps=12, resume=True)
    assert all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), whole.model.parameters(), strict=True))


def test_before_any_validation_the_last_checkpoint_has_finite_weights(tmp_path):
    model = small_model()

    def poison():
        with torch.no_grad():
            model.decoder.head.bias.fill_(float("nan"))

    with pytest.raises(TrainingDivergedError, match=r"last \(step 3\) is the last with finite weights"):
        small_fit(tmp_path, data=DATA, model=model, steps=12, validate_every=100, observer=At(4, poison))


def test_weights_that_are_not_finite_are_never_saved(tmp_path):
    """Poison that no loss has shown yet, just before a checkpoint."""
    model = small_model()

    def poison():
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] = float("inf")

    with pytest.raises(TrainingDivergedError, match="after step 3: the weights are not finite; there is no checkpoint"):
        small_fit(tmp_path, data=DATA, model=model, steps=12, observer=At(3, poison))
    assert not (tmp_path / "last").exists()


def test_a_validation_that_is_not_finite_says_so(tmp_path, monkeypatch):
    evaluate = loop.evaluate_bound
    monkeypatch.setattr(loop, "evaluate_bound", lambda *a, **k: evaluate(*a, **k)._replace(log_px=float("nan")))
    observer = TensorBoardObserver(tmp_path, DATA, CONFIG)
    with pytest.raises(TrainingDivergedError, match=r"at step 4: the validation bound is nan nats; .*last \(step 3\)"):
        small_fit(tmp_path, data=DATA, steps=12, observer=observer)
    observer.close()


def test_events_that_cannot_be_written_are_one_warning_and_training_goes_on(tmp_path, capsys):
    observer = TensorBoardObserver(tmp_path, DATA, CONFIG, scalars_every=1, pictures_every=0)

    class Full:
        def add_scalar(self, *args, **kwargs):
            raise OSError(28, "No space left on device")

        def flush(self):
            pass

        def close(self):
            raise OSError(28, "No space left on device")

    observer.__dict__["writer"] = Full()
    observer.opened = True
    fitted = start(tmp_path, steps=4, observer=observer, progress=True)
    observer.close()
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Warning: TensorBoard")]
    assert len(warnings) == 1
    assert "No space left on device" in warnings[0]
    assert fitted.progress.step == 4


def test_training_state_that_lacks_a_part_is_one_line(tmp_path):
    start(tmp_path)
    path = tmp_path / "last/training.pt"
    (tmp_path / "last/model.safetensors").unlink()  # so that only the content is checked
    state = torch.load(path)
    for name in ("progress", "optimizer", "average", "model", "best_elbo"):
        torch.save({key: value for key, value in state.items() if key != name}, path)
        with pytest.raises(CheckpointError) as caught:
            start(tmp_path, steps=3, resume=True)
        assert "\n" not in str(caught.value)
    torch.save([1, 2], path)
    with pytest.raises(CheckpointError):
        start(tmp_path, steps=3, resume=True)


COMMAND = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from small_runs import small_fit
from pixelvae.training.loop import Observer

class Ready(Observer):
    def on_step(self, record):
        Path({out!r}).with_suffix(".ready").touch()

fitted = small_fit(Path({out!r}), steps=10**6, num_workers=2, observer=Ready(), checkpoint_every=10**6,
                   validate_every=10**6, validation_images=10)
raise SystemExit(128 + fitted.signal)
"""


@pytest.mark.slow
def test_a_signal_to_the_whole_process_group_with_loader_processes_saves(tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", COMMAND.format(tests=str(TESTS), out=str(out))]
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        while not out.with_suffix(".ready").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(timeout=120) == 128 + signal.SIGTERM
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert load_training(out / "last", torch.device("cpu"))["progress"]["step"] >= 1
    load(out / "best")
