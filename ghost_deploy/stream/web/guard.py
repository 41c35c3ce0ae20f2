"""Access to the web view: the check before each route."""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ghost_deploy.stream.web.listening import is_expected_host
from ghost_deploy.stream.web.static import answer_with

# The page loads nothing from other origins, and no other page may embed it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

_OPEN = frozenset({"/login", "/style.css", "/icon.svg", "/livez", "/readyz"})
"""The login with what its page needs, and the routes of probes, which have no token."""


class AccessKeys:
    """Checks the token, and the session cookie that a browser gets in exchange for it.

    The cookie is another secret, generated for this run: the token itself is never stored in the
    browser.

    Args:
        token: access is open when None.
        port: of the server; browsers share cookies between the ports of a host.
    """

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"ghost_deploy_{port}"

    def fits(self, token: str) -> bool:
        """Whether this is the token; compared in constant time."""
        return self._token is not None and _equal(token, self._token)

    def admits(self, headers: Headers) -> bool:
        """Whether a request carries the token (`Authorization: Bearer`) or the cookie."""
        if self._token is None:
            return True
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.fits(token.strip())
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and _equal(cookie.value, self._session)

    def remember(self, response: Response) -> None:
        """Set the session cookie."""
        response.set_cookie(self._cookie, self._session, httponly=True, samesite="strict")


class AccessGuard:
    """Refuses requests with an unexpected `Host`, or without a required token.

    Args:
        app: the application behind it.
        keys: the token and cookie.
        served: the host that the server was configured with.
    """

    def __init__(self, app: ASGIApp, *, keys: AccessKeys, served: str) -> None:
        self._app = app
        self._keys = keys
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it to the application."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = self._refusal(scope)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not is_expected_host(headers.get("host", ""), self._served):
            return PlainTextResponse("This server does not answer to that name.\n", 421)
        if scope["path"] in _OPEN or self._keys.admits(headers):
            return None
        if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            return answer_with("login.html", 401)
        return PlainTextResponse(
            "A token is needed.\n", 401, headers={"WWW-Authenticate": "Bearer"}
        )


def _equal(given: str, known: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), known.encode("utf-8", "replace"))
