"""Compare configurations after equal training: ``python scripts/compare.py "[A.yaml, B.yaml]" --steps N``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("compare")
