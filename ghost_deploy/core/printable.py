"""Texts of others in messages of ours: a file, a server or a board must not steer a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control characters written as escapes; line breaks stay.

    Names and messages come from others: a checkpoint, a bundle, a folder, a server, a board.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(char: str) -> str:
    if char.isprintable() or char == "\n":
        return char
    import unicodedata  # rarely needed

    if unicodedata.category(char) == "Zs":
        return char
    return char.encode("unicode_escape").decode("ascii")
