"""The calibration set: which pictures, proved by their content, and how the model sees them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.calib.images.sampling import farthest, features, ranked
from ghost_deploy.calib.images.sources import ImageLocation, ImageReader, SkippedImage, find_images
from ghost_deploy.calib.images.video_frames import spread
from ghost_deploy.core.errors import ImageError, InputError, UsageError
from ghost_deploy.core.spec import InputSpec
from ghost_deploy.processing import Preprocessor

__all__ = [
    "MIN_IMAGES",
    "CalibrationImage",
    "CalibrationSet",
    "Progress",
    "SkippedImage",
    "collect_images",
    "preprocessing_fingerprint",
]

MIN_IMAGES = 64
"""Fewer show too little of what a tensor may hold: 4 images halve the mAP of YOLO11n (0.61 to
0.32, Ultralytics' Jetson benchmarks)."""

POOL = 4
"""Pictures to choose from for each one wanted, where they are chosen for their diversity."""

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True, kw_only=True)
class CalibrationImage(ImageLocation):
    """A picture of a calibration set.

    Attributes:
        digest: sha256 of the file, or of a frame's pixels, in hexadecimal.
    """

    digest: str


@dataclass(frozen=True)
class CalibrationSet:
    """Pictures to calibrate on; they are read when needed, and must still be the same then.

    Attributes:
        sources: the pictures, in the order in which they were named.
        skipped: what was named or tried but could not be used.
        duplicates: names of pictures left out because one of equal content is there.
        notes: what a reader should know.
        fingerprint: sha256 over the content of all pictures, whatever their names and order.
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
        """The pictures, (H, W, 3) uint8 BGR, in the order of `sources`.

        Raises:
            ImageError: one cannot be read any more, or is not the same any more.
        """
        with ImageReader() as reader:
            for source in self.sources:
                image, digest = reader.read(source)
                if digest != source.digest:
                    raise _changed(source)
                yield image

    def batches(self, input_spec: InputSpec) -> Iterator[NDArray[np.float32]]:
        """The pictures as the deployed model sees them, each a new (1, 3, H, W) float32 array.

        Raises:
            ImageError: one cannot be read any more, or is not the same any more.
        """
        preprocess = Preprocessor(msgspec.structs.replace(input_spec, batch=(1, 1)))
        for image in self.images():
            tensor, _ = preprocess([image])
            yield tensor.copy()

    def subset(self, count: int) -> CalibrationSet:
        """At most `count` of the pictures, spread evenly over them."""
        chosen = tuple(self.sources[index] for index in spread(len(self), count))
        return replace(self, sources=chosen)


@dataclass
class _Reading:
    """What was read so far."""

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
    progress: Progress | None = None,
) -> CalibrationSet:
    """Choose pictures to calibrate on; no labels are needed.

    Args:
        source: a folder, a pattern, a `.txt` list, a video, a data.yaml (its split `train`), an
            image, or several of these.
        count: most pictures to take.
        seed: decides which ones; the same names and seed give the same choice.
        diverse: choose, among `POOL` times as many, those that look least alike.
        allow_small: go on with fewer than `MIN_IMAGES`.
        progress: told of every picture.

    Raises:
        UsageError: no source, or a count below 1.
        InputError: a source is not there or holds nothing; too few pictures can be used.
        MissingExtraError: PyYAML is not installed.
    """
    given = [source] if isinstance(source, (str, os.PathLike)) else list(source)
    if count < 1 or not given:
        raise UsageError(
            "nothing to calibrate on",
            got=f"{len(given)} sources, {count} images",
            fix="Name a folder of images, and at least one of them",
        )
    wanted = count * POOL if diverse else count
    found = find_images(given, frames=wanted)
    reading = _Reading(skipped=found.skipped)
    _read(found.places, seed, wanted, reading, diverse, progress)
    position = {(place.path, place.frame): index for index, place in enumerate(found.places)}
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
    places: Sequence[ImageLocation],
    seed: int,
    wanted: int,
    reading: _Reading,
    diverse: bool,
    progress: Progress | None,
) -> None:
    """Read places in the order of their rank until `wanted` of them could be used."""
    position = {place: index for index, place in enumerate(places)}
    queue = ranked(places, seed)
    with ImageReader() as reader:
        while queue and len(reading.refs) < wanted:
            missing = wanted - len(reading.refs)
            # In the order of the sources: frames of a video come in ascending order.
            batch = sorted(queue[:missing], key=position.__getitem__)
            queue = queue[missing:]
            for place in batch:
                _take(place, reader, reading, diverse)
                if progress is not None:
                    progress("reading images", len(reading.refs), min(wanted, len(places)))


def _take(place: ImageLocation, reader: ImageReader, reading: _Reading, diverse: bool) -> None:
    try:
        image, digest = reader.read(place)
    except ImageError as error:
        got = "" if error.got is None else f": {error.got}"
        reading.skipped.append(SkippedImage(place.name, f"{error.what}{got}"))
        return
    if digest in reading.refs:
        reading.duplicates.append(place.name)
        return
    reading.refs[digest] = CalibrationImage(place.path, place.frame, digest=digest)
    if diverse:
        reading.features[digest] = features(image)


def preprocessing_fingerprint(input_spec: InputSpec) -> str:
    """sha256 of what the preprocessor makes of two fixed pictures, one enlarged, one reduced.

    It changes with the size, the colour order, the scaling, the border and the resizing itself.
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
        f"{source.path} is not the picture any more that was chosen",
        got=f"other content of {source.name}",
        fix="Calibrate again while nobody writes to it; frames of a video that cannot be sought "
        "exactly are better extracted to a folder",
    )


def _too_few(usable: int, count: int, reading: _Reading) -> InputError:
    examples = "; ".join(f"{s.name}: {s.reason}" for s in reading.skipped[:3])
    return InputError(
        f"{usable} images are too few to calibrate on: what they never show would be clipped",
        got=f"{usable} usable, {len(reading.skipped)} not usable"
        + (f" ({examples})" if examples else "")
        + f", {len(reading.duplicates)} twice; at most {count} were asked for",
        expected=f"at least {MIN_IMAGES}, better 300",
        fix="Add images from the place where the model will work, labels are not needed; "
        "--allow-small-calibration goes on regardless"
        if usable
        else "Name a folder of images that can be read",
    )
