"""``python -m pixelvae`` is ``pixelvae``."""

from pixelvae.commands.cli import main

if __name__ == "__main__":
    main()
