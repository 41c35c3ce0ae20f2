"""Hide credentials in addresses and messages."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

# A password may hold an unescaped `@` or `/`: everything up to the last `@` of the word is hidden.
# An address that was taken as a path has lost a slash. The user of an SSH address is no secret: a
# login there needs a key, or a password, which stands behind a colon.
_USER_INFO = re.compile(
    r"((?:(?<![a-z0-9+.-])(ssh))?://|\b(?:https?|mqtts?|rtmps?|rtsps?):/(?!/))([^\s\"']*)@",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"((?:user(?:[-_]?(?:id|pw|name))?|usr|login|pass(?:word|wd)?|pwd?|psw|"
    r"(?:access[-_]?|auth[-_]?)?token|(?:api[-_]?)?key|auth|secret|credential|"
    r"sig(?:nature)?|session(?:[-_]?id)?)=)"
    # Brackets and marks behind it belong to the sentence around it.
    r"(?:\"[^\"]*\"|'[^']*'|(?:[^\s&;/?\"'#]*[^\s&;/?\"'#)\]}>,.:])?)",
    re.IGNORECASE,
)
_LEAST_SECRET = 4


def mask(text: str) -> str:
    """`text` with the user, password and tokens of any address in it replaced by `***`."""
    return _SECRET.sub(r"\1***", _USER_INFO.sub(_without_user, text))


def _without_user(match: re.Match[str]) -> str:
    if match[2] and not re.search("[:/@]", match[3]):
        return match[0]
    return f"{match[1]}***@"


def without_secrets(text: str, target: str) -> str:
    """`mask` of a message from other software about `target`, which may repeat a bare password.

    Secrets of less than four letters are left to `mask`: they could be a part of any word.

    Args:
        text: the message.
        target: the address or pipeline that holds the secrets.
    """
    found = [match[0][len(match[1]) :].strip("\"'") for match in _SECRET.finditer(target)]
    for match in re.finditer(r"://([^\s\"']*)@", target):
        found += [match[1], *match[1].split(":", 1)]
    text = mask(text)
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            for form in (secret, unquote(secret), quote(unquote(secret), safe="")):
                text = text.replace(form, "***")
    return text
