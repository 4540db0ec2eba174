"""The one exception a user can cause."""


class UserError(ValueError):
    """Something the user gave cannot be used; the message is the whole sentence shown to them."""
