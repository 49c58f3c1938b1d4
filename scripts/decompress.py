"""Decompress a file to exactly equal pictures or sounds: ``python scripts/decompress.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("decompress")
