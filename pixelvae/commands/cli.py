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
    "compress": "Compress files losslessly to about the size of the model's bound",
    "decompress": "Decompress a file to exactly equal pictures or sounds",
    "sample": "Draw samples from a trained model",
    "reconstruct": "Encode images and decode them, several draws each",
    "interpolate": "Interpolate in the latents between images or classes",
    "complete": "Complete the lower part of images",
    "latents": "Draw figures of the latents of a trained PixelVAE",
    "speak": "Draw sounds from a trained model",
    "compare": "Compare configurations after equal training",
    "rate-distortion": "Measure the rate-distortion trade-off",
    "receptive-field": "Draw the receptive field of one pixel, for each decoder",
    "report": "Make one HTML page of a run",
    "demo": "Train on 5,000 embedded digits, evaluate, and draw pictures, in a few minutes",
}
"""Name and summary; the command is in the file of this name, with ``_`` for ``-``."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command of a command line, by default that of this process."""
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

    An error of use is one line on standard error and exit code 2; with ``--debug`` the traceback precedes it.

    Args:
        name: A key of ``COMMANDS``.
        arguments: Arguments after the name.
        prog: Name of the command in messages; the running script's name by default.
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
    """Convert an error of use to one line on standard error, and exit."""
    keep_working_without_readers()
    try:
        yield
    except KeyboardInterrupt:
        print("Interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None
    except Exception as error:
        code = exit_code(error)
        if code is None:  # an error of the program: keep the traceback
            raise
        if "--debug" in arguments:
            traceback.print_exc()
        print(f"{prog or Path(sys.argv[0]).name}: {one_line(error)}", file=sys.stderr)
        raise SystemExit(code) from None


def start(name: str, arguments: Sequence[str], prog: str | None) -> None:
    """Import a command and run it."""
    module = import_module(f"pixelvae.commands.{name.replace('-', '_')}")
    # These commands parse their options themselves: train saves the resolved configuration, the others take many files.
    if name in ("train", "encode", "compress"):
        module.run(arguments, prog)
    else:
        call(module.main, arguments, prog)


def overview() -> str:
    """All commands, one line each."""
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
            "pixelvae --debug NAME ... also prints the traceback of an error.",
        ]
    )
