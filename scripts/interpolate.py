"""Interpolate in the latents between images or classes: ``python scripts/interpolate.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("interpolate")
