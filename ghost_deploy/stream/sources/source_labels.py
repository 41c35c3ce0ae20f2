"""Recognize what kind of source a word on the command line is.

Each function takes the word and returns its label, which holds no credentials, or None if the
word is no source of that kind. It raises UsageError if the word is malformed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ghost_deploy.core.errors import UsageError
from ghost_deploy.processing.video_kind import VIDEO_SUFFIXES, is_video
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.masking import mask, without_secrets

Label = Callable[[str], "str | None"]


def exists(word: str) -> bool:
    """Whether the word names a file or folder."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # longer than a file name may be, or with a NUL
        return False


def scheme_of(word: str) -> str:
    """The scheme of an address in lower case; empty if the word is none."""
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", word)
    return match[1].lower() if match else ""


def address_label(*schemes: str) -> Label:
    """The label of an address with one of `schemes`."""

    def label(word: str) -> str | None:
        if scheme_of(word) not in schemes:
            return None
        split_address(word)
        # The word is one address: a blank in it is a part of it, which `mask` cannot know.
        return mask(re.sub(r"://.*@", "://***@", word, flags=re.DOTALL))

    return label


def http_label(*suffixes: str) -> Label:
    """The label of an `http://` address whose path ends in one of `suffixes`."""
    of_http = address_label("http", "https")

    def label(word: str) -> str | None:
        found = of_http(word)
        path = re.split(r"[?#]", split_address(word).rest)[0] if found else ""
        return found if path.lower().endswith(suffixes) else None

    return label


def network_label(word: str) -> str | None:
    scheme = scheme_of(word)
    if scheme in {"rtmp", "rtmps"}:
        return address_label(scheme)(word)
    if scheme != "udp":
        return None
    # `udp://@239.0.0.1:1234` and `udp://:1234` name where to listen.
    if not re.fullmatch(r"udp://@?(?:[^\s/@]*):\d{1,5}(?:[/?]\S*)?", word, re.IGNORECASE):
        raise UsageError(
            f"{word} names no port", expected="udp://HOST:PORT", fix="Name it like that"
        )
    return word


def csi_label(word: str) -> str | None:
    if scheme_of(word) != "csi":
        return None
    if not re.fullmatch(r"csi://\d{1,2}", word, re.IGNORECASE):
        raise UsageError(
            "a CSI camera is named by its number", expected="csi://0", fix="Name it like that"
        )
    return word


def pipeline_label(word: str) -> str | None:
    if " ! " not in word:
        return None
    if not re.search(r"!\s*appsink\b[^!]*$", word):
        raise UsageError(
            "a GStreamer pipeline must end in an appsink",
            fix="End it with: video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false",
        )
    return without_secrets(word, word)


def stdin_label(word: str) -> str | None:
    return "standard input" if word == "-" else None


def raw_label(word: str) -> str | None:
    if not word.startswith("raw:"):
        return None
    match = re.fullmatch(r"raw:(\d{1,5})x(\d{1,5})", word)
    if not match or not int(match[1]) * int(match[2]):
        raise UsageError(
            f"{word} gives no size",
            expected="raw:WxH, e.g. raw:1920x1080: BGR images on standard input, one after another",
            fix="Give width and height in pixels",
        )
    return f"standard input ({word})"


def camera_label(word: str) -> str | None:
    return word if re.fullmatch(r"[0-9]+|/dev/video[0-9]+", word) else None


def video_label(word: str) -> str | None:
    if exists(word):
        return word if is_video(word) else None
    if Path(word).suffix.lower() not in VIDEO_SUFFIXES or scheme_of(word):
        return None
    if any(character in word for character in "*?["):
        return None
    raise UsageError(f"there is no video {word}", fix="Check the path")


def image_label(word: str) -> str | None:
    # A pattern, or a path that does not exist: the reader of images reports that.
    return word if exists(word) or not scheme_of(word) else None
