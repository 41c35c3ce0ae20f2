"""What reads each kind of source on this machine, and what would add the rest."""

from __future__ import annotations

import sys

from ghost_deploy.core.errors import UnavailableError
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.gstreamer import probe_gstreamer, require_gstreamer
from ghost_deploy.stream.sources.opening import by_gstreamer
from ghost_deploy.stream.sources.uri import Kind, Source

__all__ = ["source_backends"]

_FORMS: dict[Kind, str] = {
    "images": "image, folder, glob",
    "video": "video file",
    "camera": "0, /dev/video0",
    "rtsp": "rtsp://",
    "mjpeg": "http:// (MJPEG)",
    "csi": "csi://0",
    "gstreamer": "GStreamer pipeline",
    "stdin": "- (MJPEG)",
    "raw": "raw:WxH",
}


def source_backends() -> dict[str, str]:
    """What would read a source, by the form of its word; why nothing can, where that is so."""
    return {forms: _read_by(Source(kind, forms, forms)) for kind, forms in _FORMS.items()}


def _read_by(source: Source) -> str:
    try:
        if by_gstreamer(source, LivePolicy()):
            require_gstreamer(source)
            how = ", decoded in hardware" if source.kind == "rtsp" else ""
            return f"GStreamer {probe_gstreamer().version}{how}, in a process of its own"
    except UnavailableError as error:
        return f"nothing: {error.what}. {error.fix}"
    if source.kind == "rtsp":
        other = probe_gstreamer().version
        return f"FFmpeg in OpenCV{other and f'; GStreamer {other} with --rtsp-by gstreamer'}"
    if source.kind == "camera":
        return "V4L2 in OpenCV" if sys.platform == "linux" else "OpenCV"
    return {"images": "OpenCV", "video": "FFmpeg in OpenCV"}.get(source.kind, "ghost-deploy")
