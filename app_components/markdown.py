"""Untrusted text where Streamlit reads Markdown."""

import re

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&\"'/=@^])")


def escape(text: object) -> str:
    """Return untrusted text so that Markdown shows it as it is."""
    return _MARKDOWN.sub(r"\\\1", str(text)).replace("\n", " ")
