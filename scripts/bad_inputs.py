"""Kinds of bad inputs for faults.py: damaged pictures, sounds, tables and archives; absurd flags; full disks."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import re
import struct
import wave
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from forked import CODE
from PIL import Image

from pixelvae.checkpoint import load
from pixelvae.commands import cli, complete, encode, evaluate, interpolate, reconstruct, sample, train
from pixelvae.compression.archive import compress, decompress
from pixelvae.compression.container import ArchiveError
from pixelvae.data.files import FileError, divide
from pixelvae.data.idx import read_pair
from pixelvae.data.images import Digits
from pixelvae.data.picture_files import PictureReader
from pixelvae.data.sound_files import read_sound
from pixelvae.data.splits import BatchKey
from pixelvae.evaluation.per_image import ELBO, PerImage, read_per_image, write_per_image
from pixelvae.storage import StorageError, dump_yaml

Act = Callable[[random.Random, Path], None]
Damage = Callable[[random.Random, bytes], bytes]
WORDS = [
    "-1",
    "0",
    "2.5",
    "1e400",
    "nan",
    "inf",
    "null",
    "",
    "[]",
    "{}",
    "[-1]",
    "os.system",
    "x" * 999,
    "/dev/null",
    "\x00",
]
FORMATS = {"png": "PNG", "jpg": "JPEG", "gif": "GIF", "bmp": "BMP", "tif": "TIFF", "webp": "WEBP", "ppm": "PPM"}
COMMANDS = (sample, reconstruct, interpolate, complete, evaluate, encode)
SMALL = {"num_samples": "1", "num_images": "2", "num_rows": "2", "num_draws": "1", "steps": "2", "rounds": "1"}
"""Options that keep a command that runs short."""


def kinds(whole: Path, config: dict[str, Any], run: Callable[[Path], int]) -> Iterator[tuple[str, Act]]:
    """All kinds of bad inputs.

    Args:
        whole: A run that nothing disturbed.
        config: Of that run.
        run: Trains it into a folder.
    """
    yield "damaged picture", picture
    yield "damaged wav file", sound
    yield "damaged idx file", idx
    yield "damaged table of splits", table
    yield "damaged table of nats", nats
    yield "damaged compressed file", partial(archive, whole)
    yield "absurd option of a command", partial(option, whole)
    yield "absurd entry of a training file", partial(training_file, config)
    yield "disk full at a random write", partial(disk_full, whole, run)


def picture(draws: random.Random, folder: Path) -> None:
    """A damaged picture is a picture of the wanted size, or refused in one line."""
    ending = draws.choice(list(FORMATS))
    path = folder / f"a.{ending}"
    size = (draws.randint(1, 40), draws.randint(1, 40), 3)
    pixels = np.frombuffer(draws.randbytes(size[0] * size[1] * 3), np.uint8).reshape(size)
    Image.fromarray(pixels).save(path, FORMATS[ending])
    path.write_bytes(draws.choice(DAMAGES)(draws, path.read_bytes()))
    with one_line(FileError):
        found = PictureReader(8, draws.choice(["crop", "pad", "stretch"]), draws.random() < 0.5, "white")(path)
        assert (found.dtype, found.shape[1:]) == (np.uint8, (8, 8)), "silently wrong"


def sound(draws: random.Random, folder: Path) -> None:
    """A damaged wav file is a finite wave, or refused in one line."""
    path = folder / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(draws.randint(1, 2))
        file.setsampwidth(draws.choice([1, 2, 4]))
        file.setframerate(8000)
        file.writeframes(draws.randbytes(800))
    damage = draws.choice([*DAMAGES, header_of_wav])
    path.write_bytes(damage(draws, path.read_bytes()))
    with one_line(FileError):
        assert bool(read_sound(path, 8000).isfinite().all()), "silently wrong"


def header_of_wav(draws: random.Random, content: bytes) -> bytes:
    """One field of the header replaced."""
    changed = bytearray(content)
    value = draws.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, draws.getrandbits(32)])
    struct.pack_into("<I", changed, draws.choice([4, 16, 20, 24, 28, 32, 40]), value)
    return bytes(changed)


def idx(draws: random.Random, folder: Path) -> None:
    """A damaged pair of idx files has the sizes and labels of before, or is refused in one line."""
    n = draws.randint(1, 5)
    images, labels = folder / "images", folder / "labels"
    images.write_bytes(struct.pack(">4I", 0x0803, n, 28, 28) + draws.randbytes(n * 784))
    labels.write_bytes(struct.pack(">2I", 0x0801, n) + bytes(draws.randrange(10) for _ in range(n)))
    path = draws.choice([images, labels])
    path.write_bytes(draws.choice([*DAMAGES, header_of_idx])(draws, path.read_bytes()))
    with one_line(ValueError):
        grey, y = read_pair(images, labels, (28, 28), 10)
        assert (tuple(grey.shape), len(y), int(y.max()) < 10) == ((n, 1, 28, 28), n, True), "silently wrong"


def header_of_idx(draws: random.Random, content: bytes) -> bytes:
    """One number of the header replaced, or a label out of range."""
    changed = bytearray(content)
    if draws.random() < 0.3:
        changed[-1] = draws.randrange(10, 256)
    else:
        struct.pack_into(
            ">I", changed, draws.choice([0, 4]), draws.choice([0, 1, 2**31, 2**32 - 1, draws.getrandbits(32)])
        )
    return bytes(changed)


def table(draws: random.Random, folder: Path) -> None:
    """A damaged csv file of splits divides files that are there, or is refused in one line."""
    files = [f"{name}.png" for name in "abcdef"]
    rows = [f"{file},{split}" for file, split in zip(files, ["train", "train", "validation", "test"] * 2, strict=False)]
    content = draws.choice(DAMAGES)(draws, "\n".join(["path,split", *rows]).encode())
    (folder / "splits.csv").write_bytes(content)
    with one_line(ValueError):
        splits = divide(folder, files, "splits.csv").splits
        assert set(splits) <= set(files), "silently wrong"


def nats(draws: random.Random, folder: Path) -> None:
    """A damaged file of single images' nats has the rows of before, or is refused in one line."""
    indices = torch.arange(20)
    write_per_image(folder, {ELBO: PerImage(-torch.rand(20).double(), indices, indices + 1)})
    (path,) = folder.iterdir()
    path.write_bytes(draws.choice(DAMAGES)(draws, path.read_bytes()))
    with one_line(ValueError):
        assert len(read_per_image(folder)[ELBO].nats) == 20, "silently wrong"


def archive(whole: Path, draws: random.Random, folder: Path) -> None:
    """A damaged .pxv file is refused in one line, or decodes to the levels of before."""
    model = load(whole / "last")
    x, y = Digits(levels=2).test[BatchKey(torch.arange(3), epoch=0)]
    content = draws.choice(DAMAGES)(draws, compress(model, x, y, block=2))
    with one_line(ArchiveError):
        assert torch.equal(decompress(model, content).x, x), "silently wrong"


def option(whole: Path, draws: random.Random, folder: Path) -> None:
    """A command with an absurd option ends with exit code 2 and one line, or does its work."""
    command = draws.choice(COMMANDS)
    names = [name for name in command.main.__annotations__ if name not in ("return", "checkpoint", "out", "log_dir")]
    given = {name: value for name, value in SMALL.items() if name in names} | {"out": str(folder / "out")}
    given |= {draws.choice(names): draws.choice(WORDS)}
    if command is encode:
        given["out"] += ".csv"
    words = [f"--{name}={value}" for name, value in given.items()]
    exits(partial(cli.run, command.__name__.rpartition(".")[2], [str(whole / "best"), *words], "pixelvae"))


def training_file(config: dict[str, Any], draws: random.Random, folder: Path) -> None:
    """A training file with an absurd entry ends with exit code 2 and one line, or trains."""
    options = {"steps": 1, "batch_size": 2, "validation_images": 4, "compile": "never", "precision": "float32"}
    changed: dict[str, Any] = {**config, "train": options, "objective": {}, "seed": 0}
    place, name = changed, draws.choice(list(changed))
    while isinstance(place[name], dict) and place[name] and draws.random() < 0.8:
        place = place[name] = dict(place[name])
        name = draws.choice(list(place))
    place[name] = draws.choice([*WORDS, -1, 0, 2.5, float("nan"), None, [], {}, 10**12])
    path = folder / "training.yaml"
    path.write_text(yaml.safe_dump(changed))
    exits(
        partial(
            cli.run,
            train.__name__.rpartition(".")[2],
            [str(path), f"--out={folder / 'run'}", "--device=cpu"],
            "pixelvae",
        )
    )


def disk_full(whole: Path, run: Callable[[Path], int], draws: random.Random, folder: Path) -> None:
    """A run whose disk is full from some write on ends in one line, and goes on when there is space."""
    write, left = os.write, [draws.randrange(30)]

    def full(descriptor: int, content: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, content)

    os.write = full
    with one_line(StorageError):
        run(folder / "run")
    os.write = write
    assert run(folder / "run") == 0, "does not go on"
    same_weights(load(folder / "run/last"), load(whole / "last"))


def exits(work: Callable[[], Any]) -> None:
    """Run a command; it may end with 0, or with 2 and one line on standard error."""
    said, errors, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
        try:
            work()
        except SystemExit as end:
            code = int(end.code or 0)
    lines = re.findall("pixelvae: .*", errors.getvalue())
    assert code == 0 or (code == 2 and len(lines) == 1 and len(lines[0]) < 3000), (
        f"code {code}: {errors.getvalue()[-300:]}"
    )


@contextlib.contextmanager
def one_line(*wanted: type[Exception]) -> Iterator[None]:
    """What is raised here must be an error of ours, in one line."""
    try:
        yield
    except wanted as error:
        message = str(error)
        assert 0 < len(message) < 1000, f"no message for people: {message[:300]!r}"
        assert "\n" not in message, f"more than one line: {message[:300]!r}"


def same_weights(ours: torch.nn.Module, theirs: torch.nn.Module) -> None:
    """Raise AssertionError unless both have the same weights."""
    a, b = ours.state_dict(), theirs.state_dict()
    assert a.keys() == b.keys(), "other weights"
    assert all(torch.equal(a[name], b[name]) for name in a), "other weights"


def counts(failures: list[str]) -> dict[str, int]:
    """How the trials failed: by a traceback, a wrong result, or code that ran."""
    code = sum(CODE in failure for failure in failures)
    wrong = sum("silently wrong" in failure or "other weights" in failure for failure in failures)
    return {"tracebacks": len(failures) - code - wrong, "silently_wrong": wrong, "code_run": code}


def flip(draws: random.Random, content: bytes) -> bytes:
    """One bit."""
    changed = bytearray(content)
    changed[draws.randrange(len(changed))] ^= 1 << draws.randrange(8)
    return bytes(changed)


def cut(draws: random.Random, content: bytes) -> bytes:
    """The beginning."""
    return content[: draws.randrange(len(content))]


def scribble(draws: random.Random, content: bytes) -> bytes:
    """A few bytes replaced, or a piece of YAML put in."""
    if draws.random() < 0.5:
        for _ in range(draws.randint(1, 5)):
            content = flip(draws, content)
        return content
    place = draws.randrange(len(content))
    pieces = [b"&a [*a]", b"[" * 2000, b"\n- x\n", b"!!python/object/apply:os.system [false]", b"9" * 5000, b"\xff"]
    return content[:place] + draws.choice([*pieces, dump_yaml({"x": 1})]) + content[place:]


DAMAGES: list[Damage] = [flip, cut, scribble]
