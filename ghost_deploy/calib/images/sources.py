"""Calibration sources resolved to single images: files, and frames of videos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.images.video_frames import Video, spread
from ghost_deploy.core.bundle import file_name, sha256_of
from ghost_deploy.core.errors import ImageError
from ghost_deploy.processing.data_yaml import listed_images, read_description, split_images, splits
from ghost_deploy.processing.images import list_images, read_image
from ghost_deploy.processing.video_kind import VIDEO_SUFFIXES, is_video, videos_of

_YAML = frozenset({".yaml", ".yml"})


@dataclass(frozen=True)
class ImageLocation:
    """An image file, or a frame of a video.

    Attributes:
        path: the file.
        frame: number of the frame, from 0; None for an image file.
    """

    path: Path
    frame: int | None = None

    @property
    def name(self) -> str:
        """Name for messages, without the folder."""
        name = file_name(self.path)
        return name if self.frame is None else f"{name} frame {self.frame}"


@dataclass(frozen=True)
class SkippedImage:
    """An image that was named but cannot be used.

    Attributes:
        name: of the image, without its folder; or file and line of a list that names it.
        reason: why; it may name folders.
    """

    name: str
    reason: str


@dataclass
class FoundImages:
    """The images of some sources.

    Attributes:
        images: each once, in the order of the sources.
        skipped: images that are named but missing.
        notes: remarks for the report.
    """

    images: list[ImageLocation] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_images(sources: Sequence[str | os.PathLike[str]], *, frames: int) -> FoundImages:
    """The images of some sources; only videos are opened.

    Args:
        sources: image files, folders (not searched deeper; one without images but with a
            data.yaml counts as that), patterns, videos, also those of folders and patterns, `.txt`
            lists of images, one path a line, relative to the list or to the working folder, and
            data.yaml files, of which the split `train` is taken.
        frames: maximum number of frames of a video, evenly spaced.

    Raises:
        InputError: a source is missing or empty.
        MissingExtraError: PyYAML is not installed.
    """
    found = FoundImages()
    for source in sources:
        _add(source, found, frames)
    unique = {(os.path.realpath(each.path), each.frame): each for each in found.images}
    found.images = list(unique.values())
    return found


def _add(source: str | os.PathLike[str], found: FoundImages, frames: int) -> None:
    path = Path(source)
    suffix = path.suffix.lower()
    if path.is_dir() and (path / "data.yaml").is_file() and not _has_images(path):
        path, suffix = path / "data.yaml", ".yaml"
    if suffix in _YAML:
        _add_data_yaml(path, found)
    elif suffix == ".txt":
        paths, absent = listed_images(path, Path())
        _add_files(paths, absent, found)
    elif path.is_file() and not is_video(path):
        _add_files([path], [], found)
    else:
        videos = [path] if path.is_file() else videos_of(source)
        if not videos and suffix in VIDEO_SUFFIXES:
            videos = [path]  # it is not there
        for file in videos:
            video = Video(file)
            found.images += [ImageLocation(file, frame) for frame in spread(video.count(), frames)]
            video.close()
        if not videos or (not path.is_file() and _has_images(path)):
            _add_files(list_images(source), [], found)


def _has_images(folder: Path) -> bool:
    try:
        return bool(list_images(folder))
    except ImageError:
        return False


def _add_data_yaml(path: Path, found: FoundImages) -> None:
    description = read_description(path)
    there = splits(description)
    split = "train" if "train" in there or not there else there[0]
    if split != "train":
        found.notes.append(
            f"{path.name} has no split train: {split} was taken; accuracy measured on the same "
            "images is optimistic"
        )
    _add_files(*split_images(path, description, split), found)


def _add_files(
    paths: Iterable[Path], absent: Iterable[tuple[str, str]], found: FoundImages
) -> None:
    found.images += [ImageLocation(path) for path in paths]
    found.skipped += [SkippedImage(Path(where).name, reason) for where, reason in absent]


class ImageReader:
    """Reads images one after the other; frames of a video are cheapest in ascending order."""

    def __init__(self) -> None:
        self._video: Video | None = None

    def read(self, location: ImageLocation) -> tuple[NDArray[np.uint8], str]:
        """The image, (H, W, 3) uint8 BGR, and the sha256 of the file, or of a frame's pixels.

        Raises:
            ImageError: it cannot be read.
        """
        if location.frame is None:
            return read_image(location.path), _sha256(location.path)
        if self._video is None or self._video.path != location.path:
            self.close()
            self._video = Video(location.path)
        image = self._video.frame(location.frame)
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        return image, digest.hexdigest()

    def close(self) -> None:
        """Release the video that was read last."""
        if self._video is not None:
            self._video.close()
        self._video = None


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read", got=error.strerror, fix="Check its permissions"
        ) from error
