"""Run all verbs in turn on the built-in detector.

Each step's document is written as its command prints it, and the report is built from those files,
so that `ghost-deploy report` on them gives the same page again.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.bench import bench
from ghost_deploy.api.common import AnyPath, require
from ghost_deploy.api.export import export
from ghost_deploy.api.int8_artifacts import Calibration
from ghost_deploy.api.load import load
from ghost_deploy.api.report import report
from ghost_deploy.api.validate import validate
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import MissingExtraError, UnavailableError, UsageError
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.gate_error import GateError
from ghost_deploy.core.progress import Progress, silent

if TYPE_CHECKING:
    from ghost_deploy.report.report_document import Report

_FIRST_SEED = 9_000
"""Of the scenes: no model was trained on them, and none was chosen by them."""

_CALIBRATION_SEED = 8_000
"""Of the scenes that int8 takes its ranges from."""

_DOCUMENTS = ("parity.json", "accuracy.json", "latency.json")
_PAGES = {"json": "report.json", "markdown": "report.md", "html": "report.html"}


@dataclass(frozen=True)
class DemoSize:
    """How much is done; the defaults take about a minute and a half on two cores.

    Attributes:
        scenes: labelled images to measure accuracy on.
        compared: of them, how many to compare artifacts with PyTorch on.
        calibrated: other images, how many int8 takes its ranges from.
        drawn: of them, how many to time on and to draw on.
        seconds: to time each candidate.
        rounds: turns that each candidate has in that time.
    """

    scenes: int = 40
    compared: int = 8
    calibrated: int = 64
    drawn: int = 8
    seconds: float = 3.0
    rounds: int = 10


@dataclass(frozen=True)
class DemoResult:
    """What a demo made.

    Attributes:
        folder: where everything is.
        report: the verdict on all that was measured.
        files: what to look at, by what it is.
        left_out: what could not be done on this machine, with the reason and what would help.
    """

    folder: Path
    report: Report
    files: dict[str, Path]
    left_out: dict[str, UnavailableError]


def demo(
    out: AnyPath,
    *,
    checkpoint: AnyPath | None = None,
    size: DemoSize | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> DemoResult:
    """Draw scenes, export a detector, prove and measure it, and write one report.

    Args:
        out: the folder.
        checkpoint: a detector of the scenes' classes; the built-in one when None.
        size: how much is done.
        overwrite: replace the results of an earlier run.
        progress: called at each step.

    Returns:
        The report, and where everything is. What this machine lacks is left out and listed.

    Raises:
        UsageError: the folder holds something else, or results without `overwrite`.
        MissingExtraError: torch, or what exports a model, is not installed.
    """
    from ghost_deploy.demo.embedded import MODEL_FILE

    folder = _clean_folder(Path(out), overwrite=overwrite)
    steps = _Steps(folder, Path(checkpoint or MODEL_FILE), size or DemoSize(), progress or silent)
    steps.export()
    for name, measure in (("accuracy", steps.validate), ("latency", steps.bench)):
        try:
            measure()
        except MissingExtraError as error:
            steps.left_out[name] = error
    made = steps.report()
    steps.draw(made)
    return DemoResult(folder, made, steps.files, steps.left_out)


@dataclass
class _Steps:
    """The steps of a demo, each of which leaves its files in the folder."""

    folder: Path
    checkpoint: Path
    size: DemoSize
    progress: Progress
    files: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, UnavailableError] = field(default_factory=dict)
    scenes: list[Path] = field(default_factory=list)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def export(self) -> None:
        from ghost_deploy.demo.scene_files import write_scenes

        formats = self._formats()
        seeds = range(_FIRST_SEED, _FIRST_SEED + self.size.scenes)
        self.scenes = write_scenes(self.folder / "scenes", seeds, self.progress)
        try:
            self._export(formats, self._calibration())
        except MissingExtraError as error:
            self.left_out["int8"] = error
            self._export(formats, None)
        bundle = Bundle.read(self.bundle)
        assert bundle.evidence.parity is not None  # an export is always proved
        self._keep(bundle.evidence.parity)
        self.files["bundle"] = self.bundle

    def _export(self, formats: Sequence[str], calib: Calibration | None) -> None:
        with contextlib.suppress(GateError):  # the report says the same
            export(
                self.checkpoint,
                self.bundle,
                formats,
                ("fp32", "fp16", "int8") if calib else ("fp32", "fp16"),
                images=self.scenes[: self.size.compared],
                calib=calib,
                overwrite=True,
                progress=self.progress,
            )

    def _calibration(self) -> Calibration:
        """One quick calibration on scenes of their own, judged on the labelled ones."""
        from ghost_deploy.demo.scene_files import LABELS, write_scenes

        seeds = range(_CALIBRATION_SEED, _CALIBRATION_SEED + self.size.calibrated)
        images = write_scenes(self.folder / "calibration", seeds, self.progress)
        return Calibration(
            source=images,
            count=len(images),
            allow_small=True,
            data=self.folder / "scenes" / LABELS,
            repair=False,
            speed=False,  # all artifacts are timed together afterwards
        )

    def validate(self) -> None:
        from ghost_deploy.demo.scene_files import LABELS

        labels = self.folder / "scenes" / LABELS
        self._keep(
            validate(self.bundle, labels, checkpoint=self.checkpoint, progress=self.progress)
        )

    def bench(self) -> None:
        self._keep(
            bench(
                self.bundle,
                self.scenes[: self.size.drawn],
                duration_s=self.size.seconds,
                rounds=self.size.rounds,
                image_source="generated scenes",
                store=True,
                progress=self.progress,
            )
        )

    def report(self) -> Report:
        documents = [self.folder / name for name in _DOCUMENTS if (self.folder / name).is_file()]
        pages = {form: self.folder / name for form, name in _PAGES.items()}
        if importlib.util.find_spec("jinja2") is None:
            self.left_out["the HTML page"] = MissingExtraError.for_extra("jinja2", "report")
            del pages["html"]
        self.files["report"] = pages.get("html", pages["markdown"])
        return report(
            [*documents, self.bundle],
            html=pages.get("html"),
            markdown=pages["markdown"],
            json=pages["json"],
        )

    def draw(self, made: Report) -> None:
        """Annotated images, by the recommended runtime and precision."""
        import cv2

        from ghost_deploy.processing.images import read_image
        from ghost_deploy.stream.draw import draw

        runtime, precision = next(_drawable(made), ("", ""))
        if not runtime:
            self.left_out["annotated images"] = UnavailableError(
                "no artifact passes on this machine", fix="See the report for the reasons"
            )
            return
        folder = self.folder / "annotated"
        folder.mkdir(exist_ok=True)
        paths = self.scenes[: self.size.drawn]
        with load(self.bundle, runtime, precision) as detector:
            for index, path in enumerate(paths):
                self.progress("drawing images", index, len(paths))
                image = read_image(path)
                cv2.imwrite(str(folder / path.name), draw(image, detector(image)))
        self.files["images"] = folder

    def _formats(self) -> list[str]:
        """Formats whose tools are all installed; the others are left out."""
        require("torch", "export")
        from ghost_deploy.export.targets import TARGETS, require_tools

        found = []
        for name, target in {each.format: each for each in TARGETS if each.default}.items():
            try:
                require_tools([target])
            except MissingExtraError as error:
                self.left_out[name] = error
            else:
                found.append(name)
        if not found:
            raise next(iter(self.left_out.values()))
        return found

    def _keep(self, document: Document) -> None:
        path = self.folder / f"{document.KIND}.json"
        path.write_bytes(msgspec.json.encode(document.to_document()))
        self.files[document.KIND] = path


def _clean_folder(out: Path, *, overwrite: bool) -> Path:
    """The folder, without the results of an earlier run: old figures must not pass for new."""
    import ghost_deploy.processing  # noqa: F401  # says what to install where OpenCV is missing
    from ghost_deploy.demo.scene_files import LABELS

    ours = (out / "scenes" / LABELS).is_file()
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists already and holds something else", fix="Name another folder with -o"
        )
    results = [out / name for name in (*_DOCUMENTS, *_PAGES.values())]
    if any(each.exists() for each in results) and not overwrite:
        raise UsageError(
            f"{out} holds the results of an earlier demo",
            fix="Name another folder with -o, or pass --overwrite (overwrite=True in Python)",
        )
    for each in results:
        each.unlink(missing_ok=True)
    return out


def _drawable(made: Report) -> Iterator[tuple[str, str]]:
    """Runtime and precision of the recommended row, then of those that pass."""
    chosen = made.verdict.row
    rows = [made.rows[chosen]] if chosen is not None else []
    for row in (*rows, *(row for row in made.rows if row.standing == "passes")):
        yield row.runtime, row.precision
