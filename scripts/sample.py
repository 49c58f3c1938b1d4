"""Draw samples from a trained model: ``python scripts/sample.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("sample")
