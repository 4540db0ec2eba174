"""Where files live when the user does not say."""

import os
from pathlib import Path

DEMO = "demo.sqlite"
"""The database of the demonstration, in its folder."""


def default_database() -> Path:
    """Return the database a command uses without `--db`."""
    return Path(os.environ.get("SALIENCY_DB") or Path("cache") / "saliency.sqlite")


def demo_folder() -> Path:
    """Return the folder the embedded demonstration is built in, beside the default database."""
    return default_database().parent / "demo"
