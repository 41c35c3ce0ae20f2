"""Open an address over HTTP, with the user and password in it."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.reader import lost
from ghost_deploy.stream.sources.source_table import SourceAddress

_UNAUTHORIZED = 401
_UNTOUCHED = "%/:=&?~#+!$,;'@()*[]"


def open_url(address: SourceAddress, policy: LivePolicy) -> Any:
    """The answer of the server, an `http.client.HTTPResponse`; Basic or Digest authentication.

    Raises:
        InputError: no answer, or a refusal.
    """
    try:
        opener, url = _opener(address.target)
        # One timeout serves connecting, the answer and every read after it.
        return opener.open(url, timeout=min(policy.open_timeout_s, policy.read_timeout_s))
    # ValueError: an invalid address. Not chained: messages may repeat the address.
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise cannot_read(address.label, error) from None


def cannot_read(label: str, error: Exception) -> InputError:
    """The error of a connection that failed: the reason, without the address."""
    return lost(label, _reason(error))


def _opener(url: str) -> tuple[urllib.request.OpenerDirector, str]:
    """An opener with the user and password of `url`, and the URL without them."""
    camera = split_address(url)
    bare = quote(camera.bare, safe=_UNTOUCHED)
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    if camera.user or camera.password:
        passwords.add_password(None, bare, camera.user, camera.password)
    handlers = (
        urllib.request.HTTPDigestAuthHandler(passwords),
        urllib.request.HTTPBasicAuthHandler(passwords),
    )
    return urllib.request.build_opener(*handlers), bare


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        why = "user or password is refused: " if error.code == _UNAUTHORIZED else ""
        return f"{why}HTTP status {error.code}"
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return "the server does not answer"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return f"no valid answer ({type(cause).__name__})"
