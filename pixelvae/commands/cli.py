"""``pixelvae NAME ...`` imports and runs one command."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from pixelvae.commands.mistakes import exit_code, one_line
from pixelvae.commands.names import did_you_mean
from pixelvae.commands.output import keep_working_without_readers
from pixelvae.commands.parsing import call

COMMANDS = {
    "train": "Train a model",
    "evaluate": "Evaluate a checkpoint on the whole test set",
    "encode": "Write nats and latents of files into a table, with outliers, neighbours, clusters",
    "compress": "Compress files to the size of the model's bound, decoded bit for bit elsewhere",
    "decompress": "Write the pictures or sounds of a compressed file again, level for level",
    "sample": "Draw samples from a trained model",
    "reconstruct": "Encode images and draw them again, several times each",
    "interpolate": "Walk through the latents, from image to image or class to class",
    "complete": "Hide the lower part of images and let a model draw it",
    "latents": "Draw pictures of the latents of a trained PixelVAE",
    "speak": "Draw sounds from a trained model",
    "compare": "Train configurations alike and compare them",
    "rate-distortion": "Measure the rate-distortion trade-off",
    "receptive-field": "Draw which earlier pixels reach a given pixel, for each decoder",
    "report": "Make one HTML page of a run",
    "demo": "Train on 5,000 embedded digits, evaluate, and draw pictures, in a few minutes",
}
"""Name and summary; the command is in the file of this name, with ``_`` for ``-``."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command that a command line names, this process's own by default."""
    keep_working_without_readers()
    given = sys.argv[1:] if arguments is None else arguments
    debug = [word for word in given if word == "--debug"]
    name, *rest = [word for word in given if word != "--debug"] or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    name = name.replace("_", "-")
    if name not in COMMANDS:
        advice = did_you_mean(name, COMMANDS, "pixelvae --help lists the commands")
        print(f"pixelvae: there is no command {name!r}; {advice}", file=sys.stderr)
        raise SystemExit(2)
    run(name, [*rest, *debug], prog=f"pixelvae {name}")


def run(name: str, arguments: Sequence[str] | None = None, prog: str | None = None) -> None:
    """Parse a command's options, from this process's command line by default, and run it.

    A user's mistake is one line on standard error and exit code 2, with ``--debug`` after the frames that found it.

    Args:
        name: A key of ``COMMANDS``.
        arguments: What follows the name.
        prog: How messages call the command; the running script's name by default.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with mistakes_in_one_line(prog, given):
        start(name, [word for word in given if word != "--debug"], prog)


def run_script(main: Callable[..., Any]) -> None:
    """Call the ``main`` of a script with the options of this process's command line."""
    given = sys.argv[1:]
    with mistakes_in_one_line(None, given):
        call(main, [word for word in given if word != "--debug"], prog=None)


@contextmanager
def mistakes_in_one_line(prog: str | None, arguments: Sequence[str]) -> Iterator[None]:
    """End this process with one line on standard error where a user's mistake is found."""
    keep_working_without_readers()
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        code = exit_code(error)
        if code is None:  # a fault of the program, which its frames help to find
            raise
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"{prog or Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
        raise SystemExit(code) from None


def start(name: str, arguments: Sequence[str], prog: str | None) -> None:
    """Import a command and run it."""
    module = import_module(f"pixelvae.commands.{name.replace('-', '_')}")
    # A checkpoint keeps the resolved configuration; encode and compress take any number of files: they read options.
    if name in ("train", "encode", "compress"):
        module.run(arguments, prog)
    else:
        call(module.main, arguments, prog)


def overview() -> str:
    """All commands, with a line about each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: pixelvae NAME ...",
            "",
            "PixelVAE and its family: variational autoencoders with autoregressive decoders.",
            "",
            *lines,
            "",
            "pixelvae NAME --help describes a command and its options.",
            "pixelvae --debug NAME ... also shows where in the program an error was found.",
        ]
    )
