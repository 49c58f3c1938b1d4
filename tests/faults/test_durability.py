"""What is written reaches the disk before its name does, and the name after it; special files are not read."""

import os
from pathlib import Path

import pytest

from pixelvae.storage import read_yaml, replace_folder, write_atomically


@pytest.fixture
def operations(monkeypatch):
    """Names of what is synchronised and renamed, in order; a temporary name without its random end."""
    seen = []
    fsync = os.fsync

    def name(path):
        parts = Path(path).name.split(".")
        return f".{parts[1]}" if parts[0] == "" else Path(path).name

    def synchronise(descriptor):
        seen.append(("fsync", name(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def watched(function):
        def call(source, target):
            seen.append(("rename", name(source), Path(target).name))
            function(source, target)

        return call

    monkeypatch.setattr(os, "fsync", synchronise)
    for function in ("rename", "replace"):
        monkeypatch.setattr(os, function, watched(getattr(os, function)))
    return seen


def test_a_file_is_on_the_disk_before_its_name_and_the_name_after(tmp_path, operations):
    write_atomically(tmp_path / "run/file", b"content")
    assert operations == [("fsync", ".file"), ("rename", ".file", "file"), ("fsync", "run")]


def test_a_folder_is_on_the_disk_before_its_name_and_the_name_after(tmp_path, operations):
    folder = tmp_path / "run/last"
    replace_folder(folder, {"a": b"old"})
    before = [("fsync", "a"), ("fsync", ".last")]
    assert operations == [*before, ("rename", ".last", "last"), ("fsync", "run")]
    operations.clear()
    replace_folder(folder, {"a": b"new"})
    renames = [("rename", "last", "last.previous"), ("rename", ".last", "last")]
    assert operations == [*before, *renames, ("fsync", "run")]


def test_a_configuration_that_is_no_regular_file_is_not_read():
    """A pipe would wait for ever."""
    with pytest.raises(ValueError, match="not a regular file"):
        read_yaml(Path(os.devnull))
