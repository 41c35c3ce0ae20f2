"""Results of a run in one or several forms that other tools read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ghost_deploy.core.closing import Closing
from ghost_deploy.core.detections import Detections
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.frame import Frame
from ghost_deploy.core.image_input import ImageInput
from ghost_deploy.processing.images import as_bgr
from ghost_deploy.stream.result import Result
from ghost_deploy.stream.saved.image_copies import ImageNames, write_copy
from ghost_deploy.stream.saved.save_forms import FORMS, parse_forms
from ghost_deploy.stream.saved.saved_image import FormWriter, SavedImage
from ghost_deploy.stream.sinks.sink import cannot_write


class ResultWriter(Closing):
    """Writes results into a folder, in the forms of `infer --save`; docs/results.md has them.

    Every file is written whole or not at all. Label files and images are there as soon as `write`
    returns; `coco.json` and `detections.csv` when the writer is closed, and not at all if its block
    ends with an error.

    Args:
        folder: made if it does not exist.
        forms: of `yolo`, `yolo-conf`, `coco`, `labelme`, `csv` and `crops`; names, or a text with
            commas.
        class_names: by class id; those of the first detections when None.
        overwrite: replace files of an earlier run; others stay.

    Raises:
        UsageError: there is no such form, or the folder holds results of another run.
        InputError: the folder cannot be made.

    Example:
        >>> import numpy as np, tempfile, os
        >>> found = Detections([[2, 4, 20, 30]], [0.9], [0], ("cat",))
        >>> folder = tempfile.mkdtemp()
        >>> with ResultWriter(folder, "yolo,csv") as writer:
        ...     writer.write(np.zeros((40, 40, 3), np.uint8), found)
        >>> sorted(os.listdir(folder))
        ['classes.txt', 'data.yaml', 'detections.csv', 'images', 'labels']
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        forms: str | Sequence[str],
        class_names: Sequence[str] | None = None,
        *,
        overwrite: bool = False,
    ) -> None:
        self._folder = Path(folder)
        self._forms = [FORMS[name] for name in parse_forms(forms)]
        self._with_images = any(form.with_images for form in self._forms)
        self._class_names = None if class_names is None else tuple(class_names)
        self._names = ImageNames()
        self._writers: list[FormWriter] | None = None
        self._images = 0
        if not overwrite:
            self._check_free()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(str(self._folder), error) from error

    def require_apart(self, sources: Sequence[Path]) -> None:
        """Raise UsageError if an image of these sources could be replaced before it is read.

        The images of `images` in the folder itself may be written in place, onto themselves.

        Args:
            sources: the image files of the whole run.
        """
        root = self._folder.resolve()
        inside = [each for each in map(Path.resolve, sources) if self._is_output(each, root)]
        stems = {each.stem.casefold() for each in inside}
        in_place = all(each.parent == root / "images" for each in inside)
        if inside and not (in_place and len(inside) == len(stems) == len(sources)):
            raise UsageError(
                f"{inside[0]} is an input, and lies where results are written",
                fix="Choose another output folder",
            )

    def _is_output(self, path: Path, root: Path) -> bool:
        """Whether a path lies in one of the folders that the forms write."""
        if not path.is_relative_to(root):
            return False
        return path.relative_to(root).parts[0] in self._outputs()

    def _outputs(self) -> set[str]:
        """The files and folders that the forms write."""
        names = {name for form in self._forms for name in form.outputs}
        return names | {"images"} if self._with_images else names

    def write(self, image: ImageInput, detections: Detections) -> None:
        """Write the results of one image.

        Args:
            image: the one that they were found in, best as a path or a `Frame`, whose source gives
                the name: a file is copied as it is. What has no name becomes `frame-000000.jpg`.
            detections: boxes in pixels of the upright image.

        Raises:
            ImageError: the image cannot be read or used.
            InputError: the system refuses.
        """
        frame = image if isinstance(image, Frame) else self._frame_of(image)
        self._images += 1
        if self._writers is None:
            names = detections.class_names if self._class_names is None else self._class_names
            self._writers = [form.open(self._folder, names) for form in self._forms]
        stem, file_name = self._names.take(frame)
        for writer in self._writers:
            writer.write(SavedImage(stem, file_name, frame, detections))
        # Last: an image without labels would be taken for one that shows nothing.
        if self._with_images:
            write_copy(frame, self._folder / "images" / file_name)

    def close(self) -> None:
        """Write what belongs to all images; calling it again does nothing.

        Raises:
            InputError: the system refuses.
        """
        writers, self._writers = self._writers, []
        for writer in writers or ():
            writer.close()

    def __exit__(self, *causes: object) -> None:
        # A table of half a run would be taken for a whole one; who interrupts a run knows it.
        if any(isinstance(each, Exception) for each in causes):
            writers, self._writers = self._writers, []
            for writer in writers or ():
                writer.abandon()
        self.close()

    def _frame_of(self, image: ImageInput) -> Frame:
        source = os.fspath(image) if isinstance(image, str | os.PathLike) else ""
        return Frame(as_bgr(image), index=self._images, source=source)

    def _check_free(self) -> None:
        taken = sorted(name for name in self._outputs() if _holds_something(self._folder / name))
        if taken:
            raise UsageError(
                f"the folder {self._folder} has results of an earlier run",
                got=", ".join(taken),
                fix="Choose another folder, or replace files with --overwrite (overwrite=True)",
            )


def save_results(
    results: Iterable[Result | tuple[Frame, Detections]],
    folder: str | os.PathLike[str],
    forms: str | Sequence[str] = "yolo",
    class_names: Sequence[str] | None = None,
    *,
    overwrite: bool = False,
) -> int:
    """Write the results of `infer` or `stream` into a folder, see `ResultWriter`.

    Args:
        results: what `infer` or `stream` gives; all are taken.
        folder, forms, class_names, overwrite: as in `ResultWriter`.

    Returns:
        The number of images.

    Raises:
        GhostDeployError: as `ResultWriter`, and as `results` raises.
    """
    count = 0
    with ResultWriter(folder, forms, class_names, overwrite=overwrite) as writer:
        for result in results:
            pair = (result.frame, result.detections) if isinstance(result, Result) else result
            writer.write(*pair)
            count += 1
    return count


def _holds_something(path: Path) -> bool:
    if not path.is_dir():
        return path.exists()
    return next(path.iterdir(), None) is not None
