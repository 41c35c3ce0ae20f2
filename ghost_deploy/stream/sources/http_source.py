"""What an address of HTTP leads to: the answer decides, not the name."""

from __future__ import annotations

import contextlib
import http.client
from typing import Any

from ghost_deploy.core.errors import InputError
from ghost_deploy.processing.file_kind import file_kind
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources import hls
from ghost_deploy.stream.sources.downloaded_video import DownloadedVideoReader
from ghost_deploy.stream.sources.http_client import cannot_read, open_url
from ghost_deploy.stream.sources.mjpeg import HttpMjpegReader
from ghost_deploy.stream.sources.polled_image import PolledImageReader
from ghost_deploy.stream.sources.reader import Reader, lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_PLAYLISTS = frozenset(
    {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"}
)
_UNTOLD = frozenset({"application/octet-stream", "binary/octet-stream", "text/plain"})
_PEEK_BYTES = 512
_FIX = "Give the address of an MJPEG stream, an image, an HLS playlist or a video"


def open_reader(address: SourceAddress, policy: LivePolicy) -> Reader:
    """See `SourceModule`; of the kinds `mjpeg` and `snapshot`."""
    answer = open_url(address, policy)
    try:
        return _reader_of(answer, address, policy)
    except BaseException:
        with contextlib.suppress(OSError):
            answer.close()
        raise


def _reader_of(answer: Any, address: SourceAddress, policy: LivePolicy) -> Reader:
    declared = answer.headers.get_content_type()
    kind = _kind_of(declared, answer, address.label)
    if kind == "multipart":
        return HttpMjpegReader(answer, address.label, policy)
    if kind == "image":
        return PolledImageReader(answer, address, policy)
    if kind in {"playlist", "video"}:
        try:
            return hls.open_reader(address, policy)
        except InputError:
            if kind == "playlist" or answer.length is None:
                raise
            return DownloadedVideoReader(answer, address, policy)
        finally:
            answer.close()
    raise lost(address.label, f"an answer of type {declared}", _FIX)


def _kind_of(declared: str, answer: Any, label: str) -> str:
    if declared in _PLAYLISTS:
        return "playlist"
    family: str = declared.partition("/")[0]
    if family in {"image", "multipart", "video"}:
        return family
    if declared not in _UNTOLD:
        return ""
    try:
        head: bytes = answer.peek(_PEEK_BYTES)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise cannot_read(label, error) from error
    kind = "multipart" if head.lstrip().startswith(b"--") else file_kind(head)
    return "image" if kind == "animation" else kind
