"""Write the pictures or sounds of a compressed file again, level for level: ``python scripts/decompress.py``."""

from pixelvae.commands.cli import run

if __name__ == "__main__":
    run("decompress")
