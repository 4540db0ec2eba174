"""The one exception a user can cause, and what fits a text into a sentence."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def first_line(error: Exception) -> str:
    """Return the first line of what was raised, its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def cut(text: str, room: int) -> str:
    """Return a text that has no more characters than there is room for."""
    return text if len(text) <= room else f"{text[: room - 1]}…"


def lower_first(sentence: str) -> str:
    """Return a sentence as it goes on after a colon."""
    return sentence[:1].lower() + sentence[1:]


class UserError(ValueError):
    """Something the user gave cannot be used; the message is the whole sentence shown to them.

    It names values from files, so line breaks and what steers a terminal become spaces.
    """

    def __init__(self, message: object) -> None:
        """Keep the sentence on one line."""
        super().__init__(_CONTROL.sub(" ", str(message)))


class NothingYetError(UserError):
    """A database is sound and can be audited into, but holds nothing of what was asked for."""
