"""Output never ends the work: any encoding, a reader that left, a full disk, no output at all."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixelvae.commands import output

pytestmark = pytest.mark.slow

WORK = f"""
import runpy, sys
runpy.run_path({output.__file__!r})["keep_working_without_readers"]()
for line in range(20000):
    print("−1 nats, μ-law", line)
    print("−1 nats, μ-law", line, file=sys.stderr)
sys.exit(7)
"""
PLAIN = WORK.replace("keep_working_without_readers", "__file__.__len__")  # the same without the function


def work(source=WORK, encoding="utf-8", **options):
    """The exit code and the standard output of a process that prints a lot: 7 if it came to its end."""
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-c", source], check=False, env=environment, **options)
    return done.returncode, done.stdout


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_every_encoding_prints_every_character_or_its_code(encoding):
    code, printed = work(encoding=encoding, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert code == 7
    lines = printed.decode(encoding).splitlines()
    assert len(lines) == 20_000
    assert lines[3] == "−1 nats, μ-law 3".encode(encoding, "backslashreplace").decode(encoding)


@pytest.mark.parametrize("source", [WORK, PLAIN], ids=["patient", "plain"])
def test_the_work_ends_though_the_reader_left(source):
    """And without the function it does not: the law can fail."""
    reading, writing = os.pipe()
    os.close(reading)
    code, _ = work(source, stdout=writing, stderr=writing)
    os.close(writing)
    assert (code == 7) == (source is WORK)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no file that is always full")
def test_the_work_ends_though_the_disk_is_full():
    with Path("/dev/full").open("w") as full:
        assert work(stdout=full, stderr=full)[0] == 7


def test_the_work_ends_without_any_output():
    closed = "import os, sys; os.close(1); os.close(2); sys.stdout = sys.stderr = None\n"
    assert work(closed + WORK)[0] == 7


def test_a_stream_of_somebody_else_is_left_alone(monkeypatch):
    notebook = io.StringIO()
    monkeypatch.setattr("sys.stdout", notebook)
    output.keep_working_without_readers()
    assert sys.stdout is notebook
