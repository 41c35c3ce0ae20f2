"""The files of the page."""

from __future__ import annotations

from pathlib import Path

from starlette.responses import Response

__all__ = ["answer_with"]

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


def answer_with(name: str, status: int = 200) -> Response:
    """A response that holds the file of that name in this folder."""
    path = Path(__file__).parent / name
    return Response(path.read_bytes(), status, media_type=_TYPES[path.suffix])
