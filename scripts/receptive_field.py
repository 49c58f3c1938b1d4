"""Draw the receptive field of one pixel, for each decoder: ``python scripts/receptive_field.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("receptive-field")
