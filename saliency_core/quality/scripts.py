"""In which scripts is a text written?"""

from __future__ import annotations

import regex

NAMES = (
    "Latin Cyrillic Greek Arabic Hebrew Devanagari Bengali Tamil Thai Han Hiragana Katakana Hangul "
    "Georgian Armenian Ethiopic Khmer Lao Myanmar"
).split()
READ = 2_000
"""Characters of a text that are looked at."""

_SCRIPT = regex.compile("|".join(rf"(?P<{name}>\p{{Script={name}}}+)" for name in NAMES))
_EAST_ASIAN = {"Hiragana": "Han", "Katakana": "Han"}


def letters_by_script(text: str) -> dict[str, int]:
    """Return script -> letters of it in a text; Japanese counts as Han."""
    text = text[:READ]
    if text.isascii():
        letters = sum(map(str.isalpha, text))
        return {"Latin": letters} if letters else {}
    found: dict[str, int] = {}
    for match in _SCRIPT.finditer(text):
        name = _EAST_ASIAN.get(match.lastgroup or "", match.lastgroup or "")
        found[name] = found.get(name, 0) + len(match.group())
    return found


def script_of(text: str) -> str:
    """Return the script of most letters of a text; `none` where it has no letters."""
    found = letters_by_script(text)
    return max(found, key=lambda name: found[name]) if found else "none"
