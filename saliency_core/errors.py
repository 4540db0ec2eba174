"""The one exception a user can cause."""

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class UserError(ValueError):
    """Something the user gave cannot be used; the message is the whole sentence shown to them.

    It names values from files, so line breaks and what steers a terminal become spaces.
    """

    def __init__(self, message: object) -> None:
        """Keep the sentence on one line."""
        super().__init__(_CONTROL.sub(" ", str(message)))
