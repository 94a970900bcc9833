"""``python -m detr_mini`` is ``detr-mini``."""

import sys

from detr_mini.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
