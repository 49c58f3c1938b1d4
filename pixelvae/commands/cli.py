"""``pixelvae NAME ...`` imports and runs one command."""

from __future__ import annotations

import difflib
import importlib
import sys
from functools import partial

import jsonargparse

COMMANDS = {
    "train": "Train a model",
    "evaluate": "Evaluate a checkpoint on the whole test set",
    "encode": "Write nats and latents of files into a table, with outliers, neighbours, clusters",
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
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help"):
        print(overview())
        return
    name = name.replace("_", "-")
    if name not in COMMANDS:
        nearest = difflib.get_close_matches(name, COMMANDS, n=1)
        advice = f"did you mean {nearest[0]}?" if nearest else "pixelvae --help lists the commands"
        print(f"pixelvae: there is no command {name!r}; {advice}", file=sys.stderr)
        raise SystemExit(2)
    run(name, rest, prog=f"pixelvae {name}")


def run(name: str, arguments: list[str] | None = None, prog: str | None = None) -> None:
    """Parse a command's options, from this process's command line by default, and run it.

    Args:
        name: A key of ``COMMANDS``.
        arguments: What follows the name.
        prog: How usage messages call the command; the running script's name by default.
    """
    module = importlib.import_module(f"pixelvae.commands.{name.replace('-', '_')}")
    # A checkpoint keeps the resolved configuration, and encode takes any number of files: they parse their options.
    start = module.run if name in ("train", "encode") else partial(jsonargparse.auto_cli, module.main)
    start(args=arguments, prog=prog)


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
        ]
    )
