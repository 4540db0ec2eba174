"""Starts the dashboard on 127.0.0.1, with a content-security policy around every page.

The launcher is dashboard.py's neighbour `dashboard_server.py`; Streamlit itself is only started,
never imported here.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from pathlib import Path

from saliency_core.errors import UserError
from saliency_core.program import NAME, program


def serve(database: Path, *, port: int = 8501, open_browser: bool = True) -> None:
    """Serve the dashboard of a database until it is interrupted.

    Raises:
        UserError: the dashboard is not installed, or the port is taken.
    """
    folder = _dashboard_folder()
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"Port {port} is taken; choose another with --port.")
    address = f"http://127.0.0.1:{port}"
    environment = {
        **os.environ,
        "SALIENCY_DB": str(database.resolve()),
        "SALIENCY_PORT": str(port),
        NAME: program(),
    }
    print(f"Dashboard at {address} (stop it with Ctrl-C).", flush=True)
    if open_browser:
        threading.Thread(target=_open_when_ready, args=(address,), daemon=True).start()
    process = subprocess.Popen([sys.executable, "dashboard_server.py"], env=environment, cwd=folder)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.terminate()
        process.wait(10)
        return
    if code:
        raise UserError(f"The dashboard stopped with exit status {code}.")


def _dashboard_folder() -> Path:
    """Return where the dashboard lies: the root of a checkout, or a folder of its own."""
    root = Path(__file__).parents[2]
    for folder in (root, root / "saliency_core_dashboard"):
        if (folder / "dashboard_server.py").is_file():
            return folder
    raise UserError(
        f"There is no dashboard beside {root / 'saliency_core'}; install the project with "
        "`pip install .` in its checkout, or run this command there."
    )


def _open_when_ready(address: str) -> None:
    for _ in range(200):
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1)
        except OSError:
            time.sleep(0.1)
        else:
            webbrowser.open(address)
            return
