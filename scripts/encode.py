"""Write nats and latents of files into a table, and draw outliers, neighbours and clusters: ``python scripts/encode.py CHECKPOINT FILES``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("encode")
