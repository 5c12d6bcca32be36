"""The error of the readers of this package."""


class MalformedError(Exception):
    """The bytes are not what the format's own writers write; the message says why, in one line."""
