"""Compress files to the size of the model's bound, decoded bit for bit elsewhere: ``python scripts/compress.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("compress")
