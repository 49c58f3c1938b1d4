"""Train on 5,000 embedded digits, evaluate, and draw pictures, in a few minutes: ``python scripts/demo.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("demo")
