"""The calibration set: its images, identified by content, and the model inputs made of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.images.sampling import farthest, features, ranked
from ghost_deploy.calib.images.sources import ImageLocation, ImageReader, SkippedImage, find_images
from ghost_deploy.calib.images.video_frames import spread
from ghost_deploy.core.errors import ExportError, ImageError, InputError, UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing.broken_images import OnBroken, check_on_broken
from ghost_deploy.processing.preprocess import Preprocessor

MIN_IMAGES = 64
"""Ranges of fewer images are too narrow: 4 images halve the mAP of YOLO11n (0.61 to 0.32,
Ultralytics' Jetson benchmarks)."""

POOL = 4
"""Images to choose from for each one wanted, where they are chosen for their diversity."""


@dataclass(frozen=True, kw_only=True)
class CalibrationImage(ImageLocation):
    """An image of a calibration set.

    Attributes:
        digest: sha256 of the file, or of a frame's pixels, in hexadecimal.
    """

    digest: str


@dataclass(frozen=True)
class CalibrationSet:
    """Images to calibrate on. They are read when needed; their content must not change.

    Attributes:
        sources: the images, in the order of the sources that were named.
        skipped: images that were named but cannot be used.
        duplicates: names of images left out because their content is there already.
        notes: remarks for the report.
        fingerprint: sha256 over the content of all images, independent of names and order.
    """

    sources: tuple[CalibrationImage, ...]
    skipped: tuple[SkippedImage, ...] = ()
    duplicates: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    @property
    def fingerprint(self) -> str:
        """sha256 over the sorted digests, in hexadecimal."""
        digests = sorted(source.digest for source in self.sources)
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def images(self) -> Iterator[NDArray[np.uint8]]:
        """The images, (H, W, 3) uint8 BGR, in the order of `sources`.

        Raises:
            ImageError: one cannot be read any more, or its content has changed.
        """
        with closing(ImageReader()) as reader:
            for source in self.sources:
                image, digest = reader.read(source)
                if digest != source.digest:
                    raise _changed(source)
                yield image

    def batches(self, input_spec: InputSpec) -> Iterator[NDArray[np.float32]]:
        """The preprocessed images, each a new (1, 3, H, W) float32 array.

        Raises:
            ImageError: one cannot be read any more, or its content has changed.
        """
        preprocess = Preprocessor(msgspec.structs.replace(input_spec, batch=(1, 1)))
        for image in self.images():
            tensor, _ = preprocess([image])
            yield tensor.copy()

    def subset(self, count: int) -> CalibrationSet:
        """At most `count` of the images, spread evenly over them."""
        chosen = tuple(self.sources[index] for index in spread(len(self), count))
        return replace(self, sources=chosen)

    def files(self, scratch: Path) -> list[Path]:
        """Files of the images; frames of videos are written to the folder `scratch`, lossless.

        Raises:
            ImageError: a frame cannot be read any more, or its content has changed.
            ExportError: a frame cannot be written.
        """
        if all(source.frame is None for source in self.sources):
            return [source.path for source in self.sources]
        files = []
        for source, image in zip(self.sources, self.images(), strict=True):
            path = source.path
            if source.frame is not None:
                path = scratch / f"{source.digest[:16]}.png"
                if not cv2.imwrite(str(path), image):
                    raise ExportError(f"cannot write {path}", fix="Free some space and try again")
            files.append(path)
        return files


@dataclass
class _Reading:
    """Images read so far, with their features if `diverse`; see `OnBroken`."""

    diverse: bool
    on_broken: OnBroken = "skip"
    refs: dict[str, CalibrationImage] = field(default_factory=dict)
    features: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    skipped: list[SkippedImage] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)


def collect_images(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    count: int = 300,
    seed: int = 0,
    diverse: bool = False,
    allow_small: bool = False,
    on_broken: OnBroken = "skip",
    progress: Progress = silent,
) -> CalibrationSet:
    """Choose images to calibrate on; no labels are needed.

    Args:
        source: a folder, a pattern, a `.txt` list, a video, a data.yaml (its split `train`), an
            image, or several of these.
        count: maximum number of images.
        seed: of the random choice; the same names and seed give the same choice.
        diverse: choose, among `POOL` times as many, the least similar ones.
        allow_small: accept fewer than `MIN_IMAGES`.
        on_broken: `skip` leaves out images that cannot be read, `stop` raises for the first.
        progress: receives each image.

    Raises:
        UsageError: no source, a count below 1, or an unknown `on_broken`.
        ImageError: an image cannot be read and `on_broken` is `stop`.
        InputError: a source is missing or empty; too few images can be used.
        MissingExtraError: PyYAML is not installed.
    """
    check_on_broken(on_broken)
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if count < 1 or not given:
        raise UsageError(
            "there is nothing to calibrate on",
            got=f"{len(given)} sources, {count} images",
            fix="Name a folder of images, and at least one of them",
        )
    wanted = count * POOL if diverse else count
    found = find_images(given, frames=wanted)
    if found.skipped and on_broken == "stop":
        first = found.skipped[0]
        raise ImageError(f"{first.name} cannot be used", got=first.reason, fix="Correct the list")
    reading = _Reading(diverse, on_broken, skipped=found.skipped)
    _read(found.images, seed, wanted, reading, progress)
    position = {(each.path, each.frame): index for index, each in enumerate(found.images)}
    refs = sorted(reading.refs.values(), key=lambda ref: position[ref.path, ref.frame])
    if diverse:
        chosen = farthest([reading.features[ref.digest] for ref in refs], count)
        refs = [refs[index] for index in sorted(chosen)]
    if len(refs) < (1 if allow_small else MIN_IMAGES):
        raise _too_few(len(refs), count, reading)
    return CalibrationSet(
        tuple(refs), tuple(reading.skipped), tuple(reading.duplicates), tuple(found.notes)
    )


def _read(
    locations: Sequence[ImageLocation],
    seed: int,
    wanted: int,
    reading: _Reading,
    progress: Progress,
) -> None:
    """Read images in the order of their rank until `wanted` of them could be used."""
    position = {location: index for index, location in enumerate(locations)}
    queue = ranked(locations, seed)
    with closing(ImageReader()) as reader:
        while queue and len(reading.refs) < wanted:
            missing = wanted - len(reading.refs)
            # In the order of the sources: frames of a video come in ascending order.
            batch = sorted(queue[:missing], key=position.__getitem__)
            queue = queue[missing:]
            for location in batch:
                _take(location, reader, reading)
                progress("reading images", len(reading.refs), min(wanted, len(locations)))


def _take(location: ImageLocation, reader: ImageReader, reading: _Reading) -> None:
    try:
        image, digest = reader.read(location)
    except ImageError as error:
        if reading.on_broken == "stop":
            raise
        got = "" if error.got is None else f": {error.got}"
        reading.skipped.append(SkippedImage(location.name, f"{error.what}{got}"))
        return
    if digest in reading.refs:
        reading.duplicates.append(location.name)
        return
    reading.refs[digest] = CalibrationImage(location.path, location.frame, digest=digest)
    if reading.diverse:
        reading.features[digest] = features(image)


def preprocessing_fingerprint(input_spec: InputSpec) -> str:
    """sha256 of the preprocessor's results for two fixed images, one enlarged and one reduced.

    It changes with the size, the colour order, the scaling, the border and the resampling.
    """
    preprocess = Preprocessor(msgspec.structs.replace(input_spec, batch=(1, 1)))
    height, width = input_spec.size_hw
    digest = hashlib.sha256(input_spec.name.encode())
    for size in ((height // 3 + 1, width // 2 + 1), (height + height // 2, width + width // 4)):
        ramp = np.add.outer(np.arange(size[0]) * 7, np.arange(size[1]) * 13)
        image = (ramp[..., None] // 5 + np.array([0, 85, 170])).astype(np.uint8)
        tensor, _ = preprocess([image])
        digest.update(repr(tensor.shape).encode())
        digest.update(tensor.data)
    return digest.hexdigest()


def _changed(source: CalibrationImage) -> ImageError:
    return ImageError(
        f"{source.path} has changed since it was chosen",
        got=f"other content of {source.name}",
        fix="Calibrate again while the file is not written to; extract the frames of a video that "
        "cannot be sought exactly to a folder",
    )


def _too_few(usable: int, count: int, reading: _Reading) -> InputError:
    examples = "; ".join(f"{s.name}: {s.reason}" for s in reading.skipped[:3])
    return InputError(
        f"{usable} images are too few to calibrate on: the ranges would be too narrow",
        got=f"{usable} usable, {len(reading.skipped)} not usable"
        + (f" ({examples})" if examples else "")
        + f", {len(reading.duplicates)} duplicates; at most {count} were asked for",
        expected=f"at least {MIN_IMAGES}, better 300",
        fix="Add images like those that the model will process, labels are not needed; "
        "--allow-small-calibration accepts fewer"
        if usable
        else "Name a folder of images that can be read",
    )
