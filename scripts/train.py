"""Train a model: ``python scripts/train.py --config configs/mnist5k/pixelvae.yaml --out runs/mine``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("train")
