"""What the readers of this package raise among themselves."""


class MalformedError(Exception):
    """The bytes are not what the format's own writers write; the message says why, in one line."""
