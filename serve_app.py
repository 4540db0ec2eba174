"""The dashboard as an ASGI application with a content-security policy; see saliency_core/serve.py.

Stands beside dashboard.py because Streamlit reads its configuration beside the launcher.
"""

import importlib
import os
from pathlib import Path
from threading import Thread

import streamlit as st
from starlette.middleware import Middleware

CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' ws://127.0.0.1:* ws://localhost:*; worker-src 'self' blob:; "
    "frame-src 'self'; object-src 'none'; base-uri 'self'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class SafeHeaders:
    """Adds the headers to every HTTP answer."""

    def __init__(self, application):
        """Wrap an ASGI application."""
        self.application = application

    async def __call__(self, scope, receive, send):
        """Answer one request."""
        if scope["type"] != "http":
            await self.application(scope, receive, send)
            return

        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.application(scope, receive, send_with_headers)


def load_what_pages_need():
    """Import what takes a second while the browser starts, not when the first page asks for it."""
    for module in ("charts", "store.word_kernel", "agreement"):
        importlib.import_module(f"saliency_core.{module}")


app = st.App(Path(__file__).with_name("dashboard.py"), middleware=[Middleware(SafeHeaders)])

if __name__ == "__main__":
    Thread(target=load_what_pages_need).start()
    app.run(
        config={
            "server.address": "127.0.0.1",
            "server.port": int(os.environ.get("SALIENCY_PORT", "8501")),
            "server.headless": True,
            "server.allowedHosts": ["127.0.0.1", "localhost"],
            "browser.gatherUsageStats": False,
        }
    )
