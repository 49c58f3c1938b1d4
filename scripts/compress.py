"""Compress files losslessly to about the size of the model's bound: ``python scripts/compress.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("compress")
