"""Draw which earlier pixels reach a given pixel, for each decoder: ``python scripts/receptive_field.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("receptive-field")
