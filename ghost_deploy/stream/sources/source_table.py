"""The kinds of sources, one row each.

To add a kind: a module with `open_reader`, see `SourceModule`, and a row in `SOURCES`. The
module is imported only when a source of that kind is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources import source_labels as labels
from ghost_deploy.stream.sources.reader import Reader


@dataclass(frozen=True)
class SourceAddress:
    """Where frames come from.

    Attributes:
        kind: name of a row in `SOURCES`.
        target: what to open; it may hold credentials and is never shown.
        label: the same for people, without credentials.
    """

    kind: str
    target: str
    label: str

    def __repr__(self) -> str:
        return f"SourceAddress({self.kind}, {self.label!r})"

    @property
    def is_live(self) -> bool:
        """Whether frames come at their own pace, so that the newest one counts.

        Of an address that leads to a file, the reader tells that it is none, see `Reader`.
        """
        return SOURCES[self.kind].is_live


class SourceModule(Protocol):
    """What the module of a kind of source has; `read_by` only if its row has no `reader`."""

    def open_reader(self, address: SourceAddress, policy: LivePolicy) -> Reader:
        """Open the source, waiting at most `policy.open_timeout_s`.

        Raises:
            InputError: it does not answer, or gives nothing that can be read.
            UnavailableError: the software that reads it is not installed.
        """

    def read_by(self, address: SourceAddress, policy: LivePolicy) -> str:
        """The software that reads the source on this machine.

        Raises:
            UnavailableError: it is not installed.
        """


@dataclass(frozen=True)
class SourceKind:
    """A kind of source.

    Attributes:
        name: in `SourceAddress.kind`.
        form: how users write it, for help and messages.
        label: recognizes a word, see `source_labels`; words are tried in the order of the rows.
        module: a `SourceModule`.
        reader: the software that reads it; empty if that depends on the machine.
        is_live: whether frames come at their own pace.
        is_file: an existing file or folder is of one of these kinds, whatever its name.
        is_stdin: whether it reads standard input.
    """

    name: str
    form: str
    label: labels.Label
    module: str
    reader: str = ""
    is_live: bool = True
    is_file: bool = False
    is_stdin: bool = False

    def load(self) -> SourceModule:
        """Import the module."""
        name = f"ghost_deploy.stream.sources.{self.module}"
        return cast("SourceModule", importlib.import_module(name))

    def read_by(self, address: SourceAddress, policy: LivePolicy) -> str:
        """As `SourceModule.read_by`."""
        return self.reader or self.load().read_by(address, policy)


_CV, _OURS = "OpenCV", "ghost-deploy"
_CAMERA = "V4L2 in OpenCV" if sys.platform == "linux" else _CV
_FILE = {"is_live": False, "is_file": True}

SOURCES: dict[str, SourceKind] = {
    kind.name: kind
    for kind in (
        SourceKind("gstreamer", "GStreamer pipeline", labels.pipeline_label, "gstreamer"),
        SourceKind("rtsp", "rtsp://", labels.address_label("rtsp", "rtsps"), "rtsp"),
        SourceKind("network", "rtmp://, udp://", labels.network_label, "network_stream"),
        SourceKind("hls", "http://….m3u8 (HLS)", labels.http_label(".m3u8", ".m3u"), "hls"),
        SourceKind(
            "snapshot",
            "http://….jpg (polled)",
            labels.http_label(".bmp", ".jpeg", ".jpg", ".png", ".webp"),
            "http_source",
            _OURS,
        ),
        SourceKind(
            "mjpeg", "http:// (MJPEG)", labels.address_label("http", "https"), "http_source", _OURS
        ),
        SourceKind("csi", "csi://0", labels.csi_label, "gstreamer"),
        SourceKind("stdin", "- (MJPEG)", labels.stdin_label, "mjpeg", _OURS, is_stdin=True),
        SourceKind("raw", "raw:WxH", labels.raw_label, "raw", _OURS, is_stdin=True),
        SourceKind("camera", "0, /dev/video0", labels.camera_label, "usb_camera", _CAMERA),
        SourceKind("video", "video file", labels.video_label, "video_file", "", **_FILE),
        SourceKind(
            "images", "image, folder, glob", labels.image_label, "image_files", _CV, **_FILE
        ),
    )
}


def open_source(address: SourceAddress, policy: LivePolicy) -> Reader:
    """`SourceModule.open_reader` of the kind of `address`."""
    return SOURCES[address.kind].load().open_reader(address, policy)


def check_readable(addresses: Iterable[SourceAddress], policy: LivePolicy) -> None:
    """Check that the software that reads the sources is installed.

    Raises:
        UnavailableError: it is not, for one of them.
    """
    for address in addresses:
        SOURCES[address.kind].read_by(address, policy)


def source_backends() -> dict[str, str]:
    """What reads each kind of source on this machine, by its form, or why nothing does."""
    found = {}
    for kind in reversed(SOURCES.values()):
        try:
            address = SourceAddress(kind.name, kind.form, kind.form)
            found[kind.form] = kind.read_by(address, LivePolicy())
        except UnavailableError as error:
            found[kind.form] = f"nothing: {error.what}. {error.fix}"
    return found
