"""Walk through the latents, from image to image or class to class: ``python scripts/interpolate.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("interpolate")
