"""What the program was called by, so that a command it names can be pasted."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SCRIPT = "saliency"
"""The command that an installation brings."""
NAME = "SALIENCY_PROGRAM"
"""The environment variable that tells what it was called by to what it starts itself."""


def program() -> str:
    """Return the beginning of every command: `saliency` or `python -m saliency_core`."""
    called = SCRIPT if Path(sys.argv[0]).stem == SCRIPT else "python -m saliency_core"
    return os.environ.get(NAME) or called
