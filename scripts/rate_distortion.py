"""Measure the rate-distortion trade-off: ``python scripts/rate_distortion.py configs/mnist/rate_distortion.yaml``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("rate-distortion")
