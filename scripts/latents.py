"""Draw figures of the latents of a trained PixelVAE: ``python scripts/latents.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("latents")
