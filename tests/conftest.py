"""What all tests share."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real models and datasets beside the checkout; skip without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"real models and datasets are not at {folder}")
    return folder
