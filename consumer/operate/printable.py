"""Text from outside, made fit for one line of a terminal or of a pipe. Pure.

Object keys and messages may hold line breaks, tabs and the escape sequences of a terminal.
"""


def on_one_line(text: str) -> str:
    """The text with everything that is not printable, and the backslash, as Python writes it in a string."""
    return "".join(c if c.isprintable() and c != "\\" else c.encode("unicode_escape").decode() for c in text)


def bytes_on_one_line(value: bytes | None) -> str:
    """The text that the bytes are in UTF-8, else the bytes in hex."""
    if value is None:
        return "(null)"
    try:
        return on_one_line(value.decode())
    except UnicodeDecodeError:
        return f"0x{value.hex()}"
