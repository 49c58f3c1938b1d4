"""Encode images and decode them, several draws each: ``python scripts/reconstruct.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("reconstruct")
