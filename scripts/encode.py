"""Write nats and latents of files into a table, with outliers, neighbours, clusters: ``python scripts/encode.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("encode")
