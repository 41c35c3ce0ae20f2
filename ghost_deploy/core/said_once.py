"""Notes that a process gives once, however often their cause occurs."""

from __future__ import annotations

import logging

_said: set[str] = set()


def say_once(key: str, note: str) -> None:
    """Log `note` as a warning of the logger `ghost_deploy`, unless one of this key was logged.

    Args:
        key: what the note is about.
        note: a sentence for the user.
    """
    if key not in _said:
        _said.add(key)
        logging.getLogger("ghost_deploy").warning(note)
