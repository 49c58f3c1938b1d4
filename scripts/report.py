"""Make one HTML page of a run: ``python scripts/report.py runs/demo``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("report")
