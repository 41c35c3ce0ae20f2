"""Ask an RTSP server why it gives no video: FFmpeg and GStreamer do not tell reliably."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import socket

from ghost_deploy.stream.sources.camera_address import CameraAddress

_PORTS = {"rtsp": 554, "rtsps": 322}
_STATUS = re.compile(rb"RTSP/1\.\d (\d{3})")
_MOST_BYTES = 1 << 16
_UNAUTHORIZED, _NOT_FOUND, _REFUSED = 401, 404, 400


def server_of(address: CameraAddress) -> tuple[str, int]:
    """Host and port of an RTSP server."""
    return address.host, address.port or _PORTS[address.scheme]


def why_no_video(address: CameraAddress, timeout_s: float) -> str:
    """The reason by the server's answer to DESCRIBE; empty if it gives none."""
    if address.scheme != "rtsp":  # behind TLS: not asked
        return ""
    try:
        status = _describe(address, timeout_s)
    except (OSError, UnicodeError):
        return ""
    if status == _UNAUTHORIZED:
        known = address.user or address.password
        what = "user or password is refused" if known else "it asks for user and password"
        return f"{what} (RTSP status 401)"
    if status == _NOT_FOUND:
        return "the server has no such stream (RTSP status 404)"
    return f"the server refuses it (RTSP status {status})" if status >= _REFUSED else ""


def _describe(address: CameraAddress, timeout_s: float) -> int:
    """The status of the answer to DESCRIBE, with user and password if they are asked for."""
    with contextlib.closing(socket.create_connection(server_of(address), timeout_s)) as link:
        status, answer = _ask(link, address.bare, 1, "")
        if status != _UNAUTHORIZED or not (address.user or address.password):
            return status
        return _ask(link, address.bare, 2, _credentials(address, answer))[0]


def _ask(link: socket.socket, url: str, number: int, more: str) -> tuple[int, str]:
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: {number}\r\nAccept: application/sdp\r\n{more}\r\n"
    link.sendall(request.encode())
    answer = b""
    while b"\r\n\r\n" not in answer and len(answer) < _MOST_BYTES:
        data = link.recv(4096)
        if not data:
            break
        answer += data
    status = _STATUS.match(answer)
    return int(status[1]) if status else 0, answer.decode("latin-1")


def _credentials(address: CameraAddress, answer: str) -> str:
    """The header that answers the server's challenge (RFC 2617, without `qop` as RTSP has it)."""
    digest = re.search(r"WWW-Authenticate: *Digest (.*)", answer, re.IGNORECASE)
    if not digest:
        both = f"{address.user}:{address.password}".encode()
        return f"Authorization: Basic {base64.b64encode(both).decode()}\r\n"
    fields = dict(re.findall(r'(\w+)="([^"]*)"', digest[1]))
    realm, nonce = fields.get("realm", ""), fields.get("nonce", "")
    secret = _md5(f"{address.user}:{realm}:{address.password}")
    response = _md5(f"{secret}:{nonce}:{_md5(f'DESCRIBE:{address.bare}')}")
    return (
        f'Authorization: Digest username="{address.user}", realm="{realm}", nonce="{nonce}", '
        f'uri="{address.bare}", response="{response}"\r\n'
    )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
