"""Words of scripts that are written without spaces, by the dictionaries of ICU.

Chinese, Japanese, Thai, Lao, Khmer and Burmese; which of them a text is in is told by the script
of its characters alone. Other text is none of this module's business.
"""

from __future__ import annotations

import itertools

import regex

SCRIPTS = "Han Hiragana Katakana Thai Lao Khmer Myanmar".split()

LETTER = "[[" + "".join(rf"\p{{scx={script}}}" for script in SCRIPTS) + r"]&&[\p{L}\p{N}]]"
"""A letter of these scripts, as a pattern of `regex` version 1; the sound mark "ー" is one."""
RUN = rf"{LETTER}(?:{LETTER}|\p{{M}})*+"
"""Such letters and their marks without anything between them."""

_MARK = regex.compile(r"\p{M}")


def inner_boundaries(run: str) -> list[int]:
    """Return where in a run of these scripts a word ends and the next begins, rising.

    Never before a combining mark, so that no character that people see is cut in two.
    """
    if len(run) < 2:
        return []
    from icu4py.breakers import WordBreaker

    # Which locale is named changes nothing: ICU has one dictionary a script.
    ends = itertools.islice((end for _, end in WordBreaker(run, "en").segments()), len(run))
    return [end for end in ends if end < len(run) and not _MARK.match(run, end)]
