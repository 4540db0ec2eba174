"""Serves a database and drives the dashboard in the system's Chromium; nothing leaves the machine.

Streamlit's test ids and its run-state attribute are internal to Streamlit: they stand here only.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
PAGES = (
    "overview",
    "errors",
    "example",
    "slices",
    "data",
    "words",
    "suspects",
    "what_if",
    "layers",
    "compare",
    "new_audit",
)
"""Names of all pages, in the order of the navigation."""
TIMEOUT = 120_000
"""Milliseconds anything may take on a machine that does other work too."""
expect.set_options(timeout=TIMEOUT)


def page_address(address: str, name: str) -> str:
    """Return the address of a page; the first one stands at the root."""
    return address if name == PAGES[0] else f"{address}/{name}"


@contextmanager
def served(database: Path, *, launcher: bool = True) -> Iterator[str]:
    """Serve a database; yield the address.

    Args:
        database: the SQLite file.
        launcher: through `dashboard_server.py`, with its content-security policy; else plain
            `streamlit run dashboard.py`.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "dashboard_server.py"]
    if not launcher:
        command = [sys.executable, "-m", "streamlit", "run", "dashboard.py"]
        command += ["--server.port", str(port)]
    environment = {**os.environ, "SALIENCY_DB": str(database), "SALIENCY_PORT": str(port)}
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{address}/_stcore/health")
        yield address
    finally:
        server.terminate()
        server.wait(10)


def _wait_for(address: str) -> None:
    """Return once something answers at an address."""
    ends = time.monotonic() + TIMEOUT / 1000
    while True:
        try:
            urllib.request.urlopen(address, timeout=1)
            return
        except OSError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a headless Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=TIMEOUT)
        try:
            yield browser
        finally:
            browser.close()


def new_page(
    browser: Browser, address: str, *, width: int = 1280, height: int = 900, dark: bool = False
) -> Page:
    """Return a page that can reach the dashboard only; what else it asks for is in `refused`."""
    page = browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
    )
    page.set_default_timeout(TIMEOUT)
    page.refused = []

    def only_ours(route):
        url = route.request.url
        if url.startswith((address, address.replace("http", "ws"), "data:", "blob:")):
            route.continue_()
        else:
            page.refused.append(url)
            route.abort()

    page.route("**/*", only_ours)
    return page


_SETTLED = """
() => document.querySelector("[data-testid=stApp][data-test-script-state=notRunning]")
  && !document.querySelector("[data-testid=stSkeleton]")
"""


def settle(page: Page) -> None:
    """Wait until the script has run and nothing is being drawn any more.

    Asked in the page: an `expect` that fails at first describes the whole page for its message,
    which takes longer than what is waited for.
    """
    page.wait_for_function(_SETTLED, timeout=TIMEOUT)
    page.wait_for_timeout(150)
    page.wait_for_function(_SETTLED, timeout=TIMEOUT)


def visit(page: Page, address: str) -> None:
    """Open an address and wait until it has settled without exception."""
    page.goto(address)
    settle(page)
    assert page.get_by_test_id("stException").count() == 0, page.inner_text("body")


def rows_of(page: Page, table: str) -> Locator:
    """Return the rows of a table, by the beginning of what it says it shows."""
    return page.locator(f"table[aria-label^='{table}'] tbody tr")


def choose_row(page: Page, table: str, row: int, cell: int = -1) -> None:
    """Click a cell of a row of a table, the last one as any other."""
    rows_of(page, table).nth(row).locator("td").nth(cell).click()
    settle(page)


def open_row(page: Page, row: int) -> None:
    """Click a row of a list of painted examples."""
    page.locator(".rows").first.locator(".row .about").nth(row).click()
    settle(page)
