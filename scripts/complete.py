"""Hide the lower part of images and let a model draw it: ``python scripts/complete.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("complete")
