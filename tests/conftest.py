"""What all tests share."""

import functools
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import typer.testing
from filelock import FileLock
from hypothesis import settings

# A busy machine is no fault of the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

# Each call of a command in this process would build all commands anew, nearly all of its time.
typer.testing._get_command = functools.cache(typer.testing._get_command)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of real models and datasets beside the checkout; skip without it."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"real models and datasets are not at {folder}")
    return folder


@dataclass(frozen=True)
class BuiltDemo:
    """The embedded demonstration, built and audited by the command a newcomer runs."""

    folder: Path
    database: Path
    rows: list[dict]
    wrong_labels: set[str]
    """Ids of the messages whose label is wrong, from the answer key beside the dataset."""


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> BuiltDemo:
    """Build the demonstration once for all slow tests; every worker writes into its own copy."""
    base = tmp_path_factory.getbasetemp()
    built = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-demo"
    with FileLock(f"{built}.lock"):
        if not built.is_dir():
            command = [sys.executable, "-m", "saliency_core", "demo", "--no-dashboard", "--quiet"]
            root = Path(__file__).parents[1]
            subprocess.run([*command, "--folder", str(built)], check=True, cwd=root)
    folder = shutil.copytree(built, tmp_path_factory.mktemp("demo") / "demo")
    wrong = {row["id"] for row in read_lines(folder / "answer-key.jsonl") if row["label_is_wrong"]}
    rows = read_lines(folder / "messages.jsonl")
    return BuiltDemo(folder, folder / "demo.sqlite", rows, wrong)
