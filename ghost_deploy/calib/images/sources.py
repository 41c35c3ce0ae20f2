"""What a user names to calibrate on, as single pictures: files, and frames of videos."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.images.video_frames import VIDEO_SUFFIXES, Video, spread
from ghost_deploy.core.bundle import sha256_of
from ghost_deploy.core.errors import ImageError
from ghost_deploy.processing import list_images, read_image
from ghost_deploy.processing.data_yaml import listed_images, read_description, split_images, splits

__all__ = ["FoundImages", "ImageLocation", "ImageReader", "SkippedImage", "find_images"]

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
        """For messages: without the folder."""
        return self.path.name if self.frame is None else f"{self.path.name} frame {self.frame}"


@dataclass(frozen=True)
class SkippedImage:
    """A picture that was named but cannot be used.

    Attributes:
        name: of the picture, without its folder; or file and line of a list that names it.
        reason: what is wrong with it; it may name folders.
    """

    name: str
    reason: str


@dataclass
class FoundImages:
    """What the sources hold.

    Attributes:
        places: each once, in the order of the sources.
        skipped: what they name but is not there.
        notes: what a reader should know.
    """

    places: list[ImageLocation] = field(default_factory=list)
    skipped: list[SkippedImage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_images(sources: Sequence[str | os.PathLike[str]], *, frames: int) -> FoundImages:
    """The pictures of some sources; none is opened yet, but videos are.

    Args:
        sources: image files, folders (not searched deeper; one without images but with a
            data.yaml counts as that), patterns, videos by their suffix, `.txt` lists of images,
            one path a line, relative to the list or to the working folder, and data.yaml files,
            of which the split `train` is taken.
        frames: most frames of one video, evenly spaced.

    Raises:
        InputError: a source is not there or holds nothing.
        MissingExtraError: PyYAML is not installed.
    """
    found = FoundImages()
    for source in sources:
        _add(source, found, frames)
    unique = {(os.path.realpath(place.path), place.frame): place for place in found.places}
    found.places = list(unique.values())
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
    elif suffix in VIDEO_SUFFIXES:
        matches = [path] if path.is_file() else [Path(name) for name in sorted(glob(str(path)))]
        for file in matches or [path]:
            video = Video(file)
            found.places += [ImageLocation(file, frame) for frame in spread(video.count(), frames)]
            video.close()
    else:
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
            f"{path.name} has no split train: {split} was taken; figures measured on the same "
            "images will look better than they are"
        )
    _add_files(*split_images(path, description, split), found)


def _add_files(
    paths: Iterable[Path], absent: Iterable[tuple[str, str]], found: FoundImages
) -> None:
    found.places += [ImageLocation(path) for path in paths]
    found.skipped += [SkippedImage(Path(where).name, reason) for where, reason in absent]


class ImageReader:
    """Reads places one after the other; frames of a video in ascending order are cheapest."""

    def __init__(self) -> None:
        self._video: Video | None = None

    def read(self, place: ImageLocation) -> tuple[NDArray[np.uint8], str]:
        """The picture (H, W, 3) uint8 BGR, and the sha256 of the file, or of a frame's pixels.

        Raises:
            ImageError: it cannot be read.
        """
        if place.frame is None:
            return read_image(place.path), _sha256(place.path)
        if self._video is None or self._video.path != place.path:
            self.close()
            self._video = Video(place.path)
        image = self._video.frame(place.frame)
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        return image, digest.hexdigest()

    def close(self) -> None:
        """Release the video that was read last."""
        if self._video is not None:
            self._video.close()
        self._video = None

    def __enter__(self) -> ImageReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise ImageError(
            f"{path} cannot be read", got=error.strerror, fix="Check its permissions"
        ) from error
