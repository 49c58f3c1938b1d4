"""Draw sounds from a trained model: ``python scripts/speak.py runs/spoken_digits/wavenet/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("speak")
