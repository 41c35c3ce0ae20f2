"""Which source a word on the command line means, and how to name it without its credentials."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from ghost_deploy.core.errors import UsageError

__all__ = ["Kind", "Source", "mask", "parse_source", "parse_sources", "without_secrets"]

Kind = Literal["images", "video", "camera", "rtsp", "mjpeg", "csi", "gstreamer", "stdin", "raw"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SCHEMES: dict[str, Kind] = {
    "rtsp": "rtsp",
    "rtsps": "rtsp",
    "http": "mjpeg",
    "https": "mjpeg",
    "csi": "csi",
}
_VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
)
_LIST_SUFFIXES = frozenset({".streams", ".txt"})
_FORMS = (
    "an image, folder, glob, video, camera number, /dev/videoN, rtsp://, http:// (MJPEG), "
    "csi://N, a GStreamer pipeline, - (MJPEG), raw:WxH or @list.txt"
)

# A password may hold an unescaped `@` or `/`: all up to the last `@` of the word is hidden.
_USER_INFO = re.compile(r"(://)[^\s\"']*@")
_SECRET = re.compile(
    r"((?:user(?:[-_]?(?:id|pw|name))?|usr|login|pass(?:word|wd)?|pwd?|psw|"
    r"(?:access[-_]?|auth[-_]?)?token|(?:api[-_]?)?key|auth|secret|credential|"
    r"sig(?:nature)?|session(?:[-_]?id)?)=)"
    r"(?:\"[^\"]*\"|'[^']*'|[^\s&;/?\"'#]*)",
    re.IGNORECASE,
)


_LEAST_SECRET = 4
_RAW = re.compile(r"raw:(\d{1,5})x(\d{1,5})")


@dataclass(frozen=True)
class Source:
    """Where frames come from.

    Attributes:
        kind: what reads it.
        target: what to open; it may hold credentials and is never shown.
        label: the same for people, without credentials.
    """

    kind: Kind
    target: str
    label: str

    def __repr__(self) -> str:
        return f"Source({self.kind}, {self.label!r})"

    @property
    def raw_hw(self) -> tuple[int, int]:
        """Height and width of the pictures of a source of the kind `raw`, pixels."""
        match = _RAW.fullmatch(self.target)
        assert match, self
        return int(match[2]), int(match[1])

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace, so that the newest one counts."""
        return self.kind not in {"images", "video"}


def mask(text: str) -> str:
    """`text` with the user, password and tokens of any address in it replaced by `***`."""
    return _SECRET.sub(r"\1***", _USER_INFO.sub(r"\1***@", text))


def without_secrets(text: str, target: str) -> str:
    """`mask` of a text by others about `target`, in which they may repeat a password of it alone.

    A secret of less than four letters is left to `mask`: it could be a part of any word.
    """
    found = [match[0][len(match[1]) :].strip("\"'") for match in _SECRET.finditer(target)]
    for match in re.finditer(r"://([^\s\"']*)@", target):
        found += [match[1], *match[1].split(":", 1)]
    text = mask(text)
    for secret in sorted(found, key=len, reverse=True):
        if len(secret) >= _LEAST_SECRET:
            text = text.replace(secret, "***").replace(unquote(secret), "***")
    return text


def parse_sources(words: Iterable[str]) -> list[Source]:
    """What each word means, in order; a list file stands for the sources in it.

    Raises:
        UsageError: there is no such source, or a list that is empty or cannot be read.
    """
    sources = [source for word in words for source in _expanded(word)]
    if sum(source.kind in {"stdin", "raw"} for source in sources) > 1:
        raise UsageError(
            "standard input is named as a source more than once",
            fix="Name it once: two readers would tear its pictures apart",
        )
    return sources


def parse_source(word: str) -> Source:
    """What one word means; a file of that name comes before any other meaning.

    Raises:
        UsageError: no such form, or a video file that is not there.
    """
    if not word.strip():
        raise UsageError("a source is empty", expected=_FORMS, fix="Name a source")
    if _exists(word):
        is_video = Path(word).suffix.lower() in _VIDEO_SUFFIXES
        kind: Kind = "video" if is_video else "images"
        return Source("camera" if _is_device(word) else kind, word, word)
    if " ! " in word:
        return _pipeline(word)
    if scheme := _SCHEME.match(word):
        return _address(word, scheme[1].lower())
    if word == "-" or word.startswith("raw:"):
        return _standard_input(word)
    if _is_device(word) or (word.isascii() and word.isdecimal()):
        return Source("camera", word, word)
    if Path(word).suffix.lower() in _VIDEO_SUFFIXES and not any(c in word for c in "*?["):
        raise UsageError(f"there is no video {word}", fix="Check the path")
    # A pattern, or a path that is not there: the reader of images says so.
    return Source("images", word, word)


def _address(word: str, scheme: str) -> Source:
    kind = _SCHEMES.get(scheme)
    if kind is None:
        raise UsageError(
            f"a {scheme}:// address cannot be a source",
            expected=_FORMS,
            fix="Give one of those, or a GStreamer pipeline that reads the address",
        )
    if kind == "csi" and not re.fullmatch(r"csi://\d{1,2}", word, re.IGNORECASE):
        raise UsageError(
            "a CSI camera is named by its number", expected="csi://0", fix="Name it like that"
        )
    # The word is one address: a blank in it is a part of it, which `mask` cannot know.
    return Source(kind, word, mask(re.sub(r"://.*@", "://***@", word, flags=re.DOTALL)))


def _standard_input(word: str) -> Source:
    if word == "-":
        return Source("stdin", word, "standard input")
    match = _RAW.fullmatch(word)
    if not match or not int(match[1]) * int(match[2]):
        raise UsageError(
            f"{word} says no size",
            expected="raw:WxH, e.g. raw:1920x1080: BGR pictures on standard input, one after "
            "another",
            fix="Name width and height in pixels",
        )
    return Source("raw", word, f"standard input ({word})")


def _pipeline(word: str) -> Source:
    if not re.search(r"!\s*appsink\b[^!]*$", word):
        raise UsageError(
            "a GStreamer pipeline must end in an appsink",
            fix="End it with: video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false",
        )
    return Source("gstreamer", word, without_secrets(word, word))


def _expanded(word: str) -> Iterator[Source]:
    path = Path(word[1:] if word.startswith("@") and not _exists(word) else word)
    is_list = path != Path(word) or (path.suffix.lower() in _LIST_SUFFIXES and path.is_file())
    if not is_list:
        yield parse_source(word)
        return
    entries = _entries(path)
    if not entries:
        raise UsageError(
            f"the list {path} names no source",
            expected="one source a line; # starts a comment line",
            fix="Add one",
        )
    for entry in entries:
        if entry.startswith("@"):
            raise UsageError(f"the list {path} names another list", fix="Put its lines there")
        yield parse_source(entry)


def _entries(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the list of sources {path}",
            got=getattr(error, "strerror", None) or "not UTF-8 text",
            fix="Check the path; a list is a text file with one source a line",
        ) from error
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _is_device(word: str) -> bool:
    return re.fullmatch(r"/dev/video\d+", word) is not None


def _exists(word: str) -> bool:
    try:
        return Path(word).exists()
    except (OSError, ValueError):  # longer than a file name may be, or with a NUL
        return False
