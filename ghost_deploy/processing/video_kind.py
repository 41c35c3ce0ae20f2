"""Whether a file is a video: its content decides, and its suffix only where that is not known."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from ghost_deploy.processing.file_kind import file_kind, image_format, kind_of_file
from ghost_deploy.processing.images import IMAGE_SUFFIXES, natural_order

VIDEO_SUFFIXES = frozenset(
    {
        *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".h264"),
        *(".h265", ".hevc", ".m2t", ".m2ts", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    }
)
"""Lower-case file name suffixes of videos."""

_JPEG_VIDEOS = frozenset({".mjpeg", ".mjpg"})  # images one after another
_MOVING = frozenset({"gif", "png"})
"""Formats of which FFmpeg reads animations; of others the first image is read."""
_HEAD_BYTES = 4096


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether an existing file is a video, or an animation that FFmpeg reads.

    A file that cannot be read is judged by its suffix: the reader reports the reason.
    """
    suffix = Path(path).suffix.lower()
    try:
        kind = kind_of_file(path)
    except OSError:
        kind = ""
    if kind == "animation":
        return image_format(_head(path)) in _MOVING
    if kind == "image":
        return suffix in _JPEG_VIDEOS
    return kind in {"video", "playlist"} or (not kind and suffix in VIDEO_SUFFIXES)


def is_video_among_images(path: Path) -> bool:
    """`is_video` for a file of a folder: of one named as an image a glance has to do."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return is_video(path)
    try:
        return file_kind(_head(path)) == "video"
    except OSError:
        return False


def files_of(source: str | os.PathLike[str]) -> list[Path]:
    """The files of a folder or pattern, without hidden ones; none where it cannot be read."""
    path = Path(source)
    try:
        if path.is_dir():
            found = list(path.iterdir())
        else:
            found = [Path(name) for name in glob.glob(os.fspath(source), recursive=True)]
        return [each for each in found if each.is_file() and not each.name.startswith(".")]
    except OSError:
        return []


def videos_of(source: str | os.PathLike[str]) -> list[Path]:
    """The videos of a folder or pattern, in natural order."""
    return sorted(filter(is_video_among_images, files_of(source)), key=natural_order)


def _head(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD_BYTES)
