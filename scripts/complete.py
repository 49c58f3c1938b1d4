"""Complete the lower part of images with a model: ``python scripts/complete.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("complete")
