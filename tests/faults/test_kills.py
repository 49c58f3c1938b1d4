"""A kill at any file operation of a save leaves a run that goes on, or a start that starts anew; never a dead end."""

import os
import shutil
from contextlib import suppress

import pytest
import torch

from pixelvae.checkpoint import Progress, is_run, load, load_progress, load_training, save_model
from pixelvae.storage import replace_folder, tidy_folder, whole_folder, write_atomically
from small_runs import CONFIG, small_data, small_fit, small_model

OPERATIONS = ("mkdir", "rename", "replace", "write", "fsync", "unlink", "rmdir", "chmod")


class Killed(BaseException):
    """No handler of the code under test catches it."""


@pytest.fixture
def kill_at(monkeypatch):
    """A function (k): the k-th file operation from now on and all later ones fail, as in a process that is dead."""

    def arm(k):
        count = [0]

        def failing(function):
            def call(*args, **kwargs):
                count[0] += 1
                if count[0] >= k:
                    raise Killed
                return function(*args, **kwargs)

            return call

        for name in OPERATIONS:
            monkeypatch.setattr(os, name, failing(getattr(os, name)))
        return count

    yield arm
    monkeypatch.undo()


def every_kill(kill_at, monkeypatch, act):
    """Yield after ``act`` has been killed at its first operation, its second, ... until one run of it survives."""
    for k in range(1, 1000):
        kill_at(k)
        try:
            act()
        except Killed:
            monkeypatch.undo()
            yield k
        else:
            monkeypatch.undo()
            return


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OLD, NEW = {"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new", "c": b"new"}


@pytest.mark.parametrize("old", [None, OLD])
def test_a_folder_is_the_old_or_the_new_one_whole_at_any_kill(tmp_path, kill_at, monkeypatch, old):
    folder, seen = tmp_path / "last", []

    def reset():
        shutil.rmtree(tmp_path)
        tmp_path.mkdir()
        if old:
            replace_folder(folder, old)

    reset()
    for _ in every_kill(kill_at, monkeypatch, lambda: replace_folder(folder, NEW)):
        readable = whole_folder(folder)  # what a reader sees before anybody has tidied
        before = content(readable) if readable.is_dir() else None
        tidy_folder(folder)
        after = content(folder) if folder.is_dir() else None
        assert before == after
        assert after in (old, NEW)
        assert [path.name for path in tmp_path.iterdir()] == (["last"] if after else [])
        seen.append(after == NEW)
        reset()
    assert len(seen) > 8
    assert seen == sorted(seen)  # first the old one, then the new one
    assert seen[-1]  # all that is left to do is to remove the old one, or to synchronise


def test_a_failed_write_leaves_the_old_folder_and_no_remains(tmp_path, monkeypatch):
    folder, fsync, calls = tmp_path / "last", os.fsync, []
    replace_folder(folder, OLD)

    def fail(descriptor):
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=r"cannot write .*last: the disk is full: free some space"):
        replace_folder(folder, NEW)
    assert content(folder) == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


def test_a_reader_keeps_the_bytes_of_the_file_that_it_has_open(tmp_path):
    replace_folder(tmp_path / "last", OLD)
    write_atomically(tmp_path / "file", b"old")
    with (tmp_path / "last/a").open("rb") as in_folder, (tmp_path / "file").open("rb") as alone:
        replace_folder(tmp_path / "last", NEW)
        write_atomically(tmp_path / "file", b"new")
        assert in_folder.read() == alone.read() == b"old"


def test_a_folder_that_cannot_be_synchronised_is_written_all_the_same(tmp_path, monkeypatch):
    """Windows and some network file systems refuse it."""
    opened = os.open

    def refuse(path, flags, *args, **kwargs):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    replace_folder(tmp_path / "last", NEW)
    assert content(tmp_path / "last") == NEW


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The weights of a run of four steps that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    small_fit(out, **SHORT)
    return weights(out)


SHORT = {
    "data": small_data(),
    "steps": 4,
    "batch_size": 2,
    "validate_every": 2,
    "checkpoint_every": 1,
    "validation_images": 10,
}


def weights(out):
    return load_training(out / "last", torch.device("cpu"))["average"] | load(out / "best").state_dict()


@pytest.mark.slow
def test_a_run_killed_at_any_operation_of_its_saves_ends_with_the_same_weights(tmp_path, kill_at, monkeypatch, whole):
    """Operations of the first saves and of later ones; resumed by `auto`, as a scheduler would."""
    count = kill_at(10**9)
    small_fit(tmp_path / "count", **SHORT)
    monkeypatch.undo()
    total = count[0]
    for k in [*range(2, 40, 9), 41, total - 2]:
        out = tmp_path / str(k)
        kill_at(k)
        with suppress(Killed):
            small_fit(out, **SHORT)
        monkeypatch.undo()
        small_fit(out, resume="auto", **SHORT)
        assert all(torch.equal(a, b) for a, b in zip(weights(out).values(), whole.values(), strict=True)), k
        assert load_progress(out / "last").step == 4
        assert {path.name for path in out.iterdir()} - {".lock"} == {"best", "last", "history.json"}


@pytest.mark.parametrize("name", ["last", "last.previous"])
def test_a_run_is_a_last_checkpoint_with_a_training_state_also_between_the_two_renames(tmp_path, name):
    """Weights and configuration alone cannot be resumed; the best checkpoint has no more than those."""
    for training in (None, {"step": 1}):
        save_model(tmp_path / name, small_model(), CONFIG, Progress(), training)
        assert is_run(tmp_path) == (training is not None)
    assert load_training(tmp_path / "last", torch.device("cpu")) == {"step": 1}
    (tmp_path / name).rename(tmp_path / "best")
    assert not is_run(tmp_path)
