"""Where the checkout and its dashboard lie."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DASHBOARD = str(ROOT / "dashboard.py")
