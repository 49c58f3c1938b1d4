"""Complete the lower part of images: ``python scripts/complete.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("complete")
