"""The dashboard as an ASGI application with a content-security policy.

Started by saliency_core/server/launch.py; stands beside dashboard.py because Streamlit reads its
configuration beside the launcher.
"""

import gc
import importlib
import os
from pathlib import Path
from threading import Thread

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; worker-src 'self' blob:; "
    "frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
DRAWN_LATER = ("ArrowVegaLiteChart", "embed", "DataFrame", "arrowFormatUtils")
"""Scripts of Streamlit that draw charts and tables, without their version."""
SCRIPTS = Path(st.__file__).parent / "static" / "static" / "js"
READ_AHEAD = ", ".join(
    f"</static/js/{path.name}>; rel=modulepreload"
    for name in DRAWN_LATER
    for path in SCRIPTS.glob(f"{name}.*.js")
)
"""A `Link` header: two megabytes that the first chart would wait for otherwise."""
LOADED_AHEAD = (
    "output.charts.overview",
    "store.read.word_sums_kernel",
    "analysis.layers.agreement",
    "analysis.example_detail",
    "analysis.similar_explanations",
)
"""Modules of the core that some page needs and that take long to import."""

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


def with_headers(application):
    """Return an ASGI application that adds the headers to every answer, and to pages a link."""

    async def answer(scope, receive, send):
        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.append(name, value)
                if headers.get("content-type", "").startswith("text/html"):
                    headers.append("link", READ_AHEAD)
            await send(message)

        await application(scope, receive, send_with_headers)

    return answer


def load_what_pages_need():
    """Import what takes a second while the browser starts, not when the first page asks for it.

    Streamlit collects garbage after every run of a page, all else waiting. What is imported is
    never garbage: passed over, a collection takes 1 ms where it took 100.
    """
    for module in LOADED_AHEAD:
        importlib.import_module(f"saliency_core.{module}")
    gc.collect()
    gc.freeze()


app = st.App(Path(__file__).with_name("dashboard.py"), middleware=[Middleware(with_headers)])

if __name__ == "__main__":
    Thread(target=load_what_pages_need).start()
    app.run(
        config={
            "server.address": "127.0.0.1",
            "server.port": int(os.environ.get("SALIENCY_PORT", "8501")),
            "server.headless": True,
            "logger.hideWelcomeMessage": True,
            "server.allowedHosts": ["127.0.0.1", "localhost"],
            "browser.gatherUsageStats": False,
        }
    )
