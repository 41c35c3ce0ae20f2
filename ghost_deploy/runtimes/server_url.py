"""What is the address of an inference server, by its scheme; nothing else is imported to know."""

from __future__ import annotations

import re

SCHEME = re.compile(r"(https?|grpcs?)://", re.IGNORECASE)


def is_server_url(text: object) -> bool:
    """Whether `text` is an address of an inference server."""
    return isinstance(text, str) and SCHEME.match(text) is not None
