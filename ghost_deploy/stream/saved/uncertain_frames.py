"""The frames that a model is least sure of, as a data set whose labels are to be corrected."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import InputError, UsageError
from ghost_deploy.core.files import MAX_TEXT_BYTES, read_regular
from ghost_deploy.core.frame import Frame
from ghost_deploy.detector import Detector
from ghost_deploy.stream.saved.doubt import doubts, lowered_detector
from ghost_deploy.stream.saved.image_copies import ImageNames, write_copy
from ghost_deploy.stream.saved.labelme_files import LabelmeFiles
from ghost_deploy.stream.saved.near_duplicates import HASH_BYTES, image_hash, near_duplicate
from ghost_deploy.stream.saved.saved_image import SavedImage
from ghost_deploy.stream.saved.yolo_files import YoloFiles, data_yaml
from ghost_deploy.stream.sinks.sink import cannot_write, write_file

_LABELLED_FROM = 0.5
"""Doubt from which on a detection below its threshold is among the labels: from three quarters of
the threshold on. To delete a box is less work than to draw one."""
_WORTH = 1.1
"""How much more doubtful a frame must be to take the place of one that shows nearly the same."""


class KeptFrame(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a frame, in `frames/NAME.json`.

    Attributes:
        stem, file_name: names of its files.
        source: what it was captured from; `index` is its number there.
        doubt: the sum over its detections, 0 to 1 each.
        key: hash of the image, in hexadecimal.
        xyxy, doubts, class_id: its doubtful detections, to compare with other frames.
        sha256: of its label files as they were written, by path in the folder.
    """

    stem: str
    file_name: str
    source: str
    index: int
    doubt: float
    key: str
    xyxy: list[list[float]]
    doubts: list[float]
    class_id: list[int]
    sha256: dict[str, str]


@dataclass(frozen=True, eq=False)
class _Known:
    """A kept frame, and its boxes with their doubts as scores."""

    frame: KeptFrame
    boxes: Detections

    @classmethod
    def of(cls, frame: KeptFrame) -> _Known:
        return cls(frame, Detections(frame.xyxy, frame.doubts, frame.class_id))


class UncertainWriter(Closing):
    """Keeps the frames with the most doubtful detections, near-duplicates left out.

    The doubt of a detection is 1 at the threshold of its class and 0 from half of it down and from
    half way to 1 up; that of a frame is the sum. Two frames are near-duplicates if the images are
    alike and most of their boxes are. At most `budget` frames are on the disk and in memory,
    however long it runs: a more doubtful frame takes the place of the least doubtful one. A frame
    whose label files were changed, by a person who corrects them, is never removed and does not
    count.

    A folder of an earlier run is continued.

    Args:
        detector: the model; it stays open.
        folder: made if it does not exist; it becomes a data set, with labels of the YOLO and the
            LabelMe form.
        budget: frames that are kept at most.
        limits: the threshold of each class; those of the detector when None.

    Attributes:
        detector: finds what is doubtful too; its detections are what `write` takes. It shares the
            runtime with the one that was given.

    Raises:
        UsageError: the folder holds something else, or the budget is not above 0.
        InputError: the folder cannot be read or made.
    """

    def __init__(
        self,
        detector: Detector,
        folder: str | os.PathLike[str],
        budget: int = 100,
        limits: Sequence[float] | None = None,
    ) -> None:
        if budget < 1:
            raise UsageError("the budget must be above 0", got=budget, fix="Give a larger one")
        names = detector.spec.class_names
        thresholds = detector.thresholds
        own = thresholds.class_conf or (thresholds.conf,) * len(names)
        self._limits = tuple(own if limits is None else limits)
        self.detector = lowered_detector(detector, self._limits)
        self._folder = Path(folder)
        self._budget = budget
        self._names = ImageNames()
        _check_folder(self._folder, names)
        self._known = self._continue()
        self._yolo = YoloFiles(self._folder, names)
        self._labelme = LabelmeFiles(self._folder, names)

    def __len__(self) -> int:
        """How many frames are kept, besides those that people changed."""
        return len(self._known)

    def write(self, frame: Frame, found: Detections) -> bool:
        """Look at one frame; True if it is kept now.

        Args:
            frame: the image.
            found: what `self.detector` found in it.

        Raises:
            InputError: the system refuses; nothing of the frame is left.
        """
        doubt = doubts(found, self._limits)
        total = float(doubt.sum())
        if total <= self._least():
            return False
        above = found.score > np.asarray(self._limits, np.float32)[found.class_id]
        labels = found[above | (doubt >= _LABELLED_FROM)]
        key = image_hash(frame.image)
        keys = np.array([list(bytes.fromhex(k.frame.key)) for k in self._known], np.uint8)
        rows = doubt > 0
        boxes = Detections(found.xyxy[rows], doubt[rows].astype(np.float32), found.class_id[rows])
        alike = near_duplicate(key, boxes, keys, [k.boxes for k in self._known])
        if alike is not None:
            if total < _WORTH * self._known[alike].frame.doubt:
                return False
            self._remove(self._known[alike])
        # An earlier run may have had a larger budget.
        while len(self._known) >= self._budget:
            self._remove(min(self._known, key=lambda known: known.frame.doubt))
        self._known.append(_Known(self._write(frame, labels, boxes, total, key), boxes))
        return True

    def close(self) -> None:
        """Nothing is left to do: what is kept is on the disk."""

    def _least(self) -> float:
        """What a frame must be more doubtful than."""
        if len(self._known) < self._budget:
            return 0.0
        return min(known.frame.doubt for known in self._known)

    def _write(
        self, frame: Frame, labels: Detections, boxes: Detections, doubt: float, key: bytes
    ) -> KeptFrame:
        """Write labels and memory first, the image last: an image without labels would be taken
        for one that shows nothing."""
        stem, file_name = self._names.take(frame)
        saved = SavedImage(stem, file_name, frame, labels)
        with contextlib.ExitStack() as undo:
            undo.callback(self._unlink, stem, file_name)
            kept = self._write_files(saved, boxes, doubt, key)
            undo.pop_all()
        return kept

    def _write_files(
        self, saved: SavedImage, boxes: Detections, doubt: float, key: bytes
    ) -> KeptFrame:
        frame, stem, file_name = saved.frame, saved.stem, saved.file_name
        self._yolo.write(saved)
        self._labelme.write(saved)
        kept = KeptFrame(
            stem=stem,
            file_name=file_name,
            source=os.fsencode(frame.source).decode("utf-8", "replace"),
            index=frame.index,
            doubt=doubt,
            key=key.hex(),
            xyxy=boxes.xyxy.tolist(),
            doubts=boxes.score.tolist(),
            class_id=boxes.class_id.tolist(),
            sha256={name: _hash(self._folder / name) for name in _label_files(stem)},
        )
        write_file(self._folder / "frames" / f"{stem}.json", msgspec.json.encode(kept))
        write_copy(frame, self._folder / "images" / file_name)
        return kept

    def _remove(self, known: _Known) -> None:
        """Forget a frame, and remove its files unless a person changed them."""
        self._known.remove(known)
        frame = known.frame
        if any(_hash(self._folder / name) != each for name, each in frame.sha256.items()):
            return
        self._unlink(frame.stem, frame.file_name)

    def _unlink(self, stem: str, file_name: str) -> None:
        """Remove the files of a frame that are there."""
        for name in (f"images/{file_name}", *_label_files(stem), f"frames/{stem}.json"):
            with contextlib.suppress(OSError):
                (self._folder / name).unlink()
        self._names.release(stem)

    def _continue(self) -> list[_Known]:
        """The frames of an earlier run that are whole and unchanged; names of all are taken."""
        found: list[_Known] = []
        for place in ("images", "labels"):
            for path in _files(self._folder / place):
                self._names.hold(path.stem)
        for path in _files(self._folder / "frames"):
            try:
                frame = msgspec.json.decode(read_regular(path, MAX_TEXT_BYTES), type=KeptFrame)
                known = _Known.of(_checked(frame, path.stem))
            except (OSError, msgspec.DecodeError, UnicodeDecodeError, ValueError, InputError):
                continue
            found.append(known)
            unchanged = all(
                _hash(self._folder / name) == each for name, each in frame.sha256.items()
            )
            if not (self._folder / "images" / frame.file_name).is_file():
                self._known = found
                self._remove(known)
            elif not unchanged:
                found.remove(known)
        return found


def _check_folder(folder: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder that holds anything but an earlier run with the same classes."""
    try:
        held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        text = (folder / "data.yaml").read_bytes() if "data.yaml" in held else b""
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(str(folder), error) from error
    if held and text != data_yaml(names):
        raise UsageError(
            f"{folder} holds something else than uncertain frames of these classes",
            got=", ".join(held[:5]),
            fix="Choose another folder",
        )


def _checked(frame: KeptFrame, stem: str) -> KeptFrame:
    """The frame, whose files lie where those of `stem` do.

    Raises:
        ValueError: they do not, or the hash of the image is none.
    """
    own = frame.stem == stem and Path(frame.file_name).name == frame.file_name
    if not own or set(frame.sha256) != set(_label_files(stem)):
        raise ValueError("names files of something else")
    if len(bytes.fromhex(frame.key)) != HASH_BYTES:
        raise ValueError("no hash of an image")
    return frame


def _label_files(stem: str) -> tuple[str, str]:
    return f"labels/{stem}.txt", f"images/{stem}.json"


def _files(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return sorted(path for path in folder.iterdir() if path.is_file())
    return []


def _hash(path: Path) -> str:
    try:
        return hashlib.sha256(read_regular(path, MAX_TEXT_BYTES)).hexdigest()
    except OSError:
        return ""
