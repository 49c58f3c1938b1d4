"""Evaluate a checkpoint on the whole test set: ``python scripts/evaluate.py runs/demo/best``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("evaluate")
