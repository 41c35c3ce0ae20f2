"""The whole road on the built-in detector: scenes, export, proof, accuracy, latency, a report.

Each step's document is written as its command would print it, and the report is made of those
files, so that `ghost-deploy report` on them gives the same page again.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, Progress, load_checkpoint, require
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import GateError, MissingExtraError, UnavailableError, UsageError
from ghost_deploy.core.evidence.base import Document

if TYPE_CHECKING:
    from ghost_deploy.report.blocks import Report

__all__ = ["Demonstration", "Extent", "demonstrate"]

_FIRST_SEED = 9_000
"""Of the scenes: no model learned from them, and none was chosen by them."""

_DOCUMENTS = ("parity.json", "accuracy.json", "latency.json")
_PAGES = {"json": "report.json", "markdown": "report.md", "html": "report.html"}


@dataclass(frozen=True)
class Extent:
    """How much is done; the defaults take about a minute and a half on two cores.

    Attributes:
        scenes: labelled pictures to measure accuracy on.
        compared: of them, how many to compare artifacts with PyTorch on.
        pictures: of them, how many to time on and to draw on.
        seconds: to time each candidate.
        rounds: turns each has in that time.
    """

    scenes: int = 40
    compared: int = 8
    pictures: int = 8
    seconds: float = 3.0
    rounds: int = 10


@dataclass
class Demonstration:
    """What came of it.

    Attributes:
        folder: where everything is.
        report: the document; None until the end.
        files: what to look at, by what it is.
        left_out: what could not be done here, with the reason and what would help.
    """

    folder: Path
    report: Report | None = None
    files: dict[str, Path] = field(default_factory=dict)
    left_out: dict[str, UnavailableError] = field(default_factory=dict)


def demonstrate(
    out: AnyPath,
    *,
    checkpoint: AnyPath | None = None,
    extent: Extent | None = None,
    progress: Progress | None = None,
    timing: Progress | None = None,
) -> Demonstration:
    """Do the whole road and leave everything in one folder.

    Args:
        out: the folder; one that an earlier run made is used again.
        checkpoint: a detector of the scenes' classes; the built-in one by default.
        extent: how much is done.
        progress: told what is being done.
        timing: the same while latency is measured, which goes in rounds.

    Raises:
        UsageError: the folder holds something else.
        MissingExtraError: torch or what exports a model is not installed.
    """
    from ghost_deploy.demo.embedded import MODEL_FILE
    from ghost_deploy.demo.scene_files import write_scenes

    tell, extent = progress or _silent, extent or Extent()
    done = Demonstration(_folder(Path(out)))
    formats = _formats(done)
    source = MODEL_FILE if checkpoint is None else Path(checkpoint)
    seeds = range(_FIRST_SEED, _FIRST_SEED + extent.scenes)
    images = write_scenes(done.folder / "scenes", seeds, progress)
    bundle = _export(done, source, formats, images[: extent.compared], tell)
    job = _Job(source, images, extent, tell, timing)
    for what, step in (("accuracy", _measure), ("latency", _time)):
        try:
            bundle = step(job, done, bundle)
        except MissingExtraError as error:
            done.left_out[what] = error
    _write_report(done, bundle)
    _draw(done, bundle, images[: extent.pictures], tell)
    return done


@dataclass(frozen=True)
class _Job:
    """What the steps work with."""

    source: Path
    images: list[Path]
    extent: Extent
    tell: Progress
    timing: Progress | None


def _folder(out: Path) -> Path:
    """The folder, without the results of an earlier run: old figures must not pass for new."""
    from ghost_deploy.demo.scene_files import LABELS

    ours = (out / "scenes" / LABELS).is_file()
    if out.exists() and not ours and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(
            f"{out} exists already and holds something else", fix="Name another folder with -o"
        )
    for name in (*_DOCUMENTS, *_PAGES.values()):
        (out / name).unlink(missing_ok=True)
    return out


def _formats(done: Demonstration) -> list[str]:
    """Formats whose tools are all installed; the others are left out."""
    require("torch", "export")
    from ghost_deploy.export.plan import TARGETS, require_tools

    targets = {target.format: target for target in TARGETS if target.default}
    found = []
    for name, target in targets.items():
        try:
            require_tools([target])
        except MissingExtraError as error:
            done.left_out[name] = error
        else:
            found.append(name)
    if not found:
        raise next(iter(done.left_out.values()))
    return found


def _export(
    done: Demonstration, source: Path, formats: Sequence[str], images: list[Path], tell: Progress
) -> Bundle:
    from ghost_deploy.api.export import export

    folder = done.folder / "bundle"
    try:
        bundle = export(
            source, folder, formats, ("fp32", "fp16"), images=images, overwrite=True, progress=tell
        )
    except GateError:
        # The bundle is there with its verdict; the report says the same louder.
        bundle = Bundle.read(folder)
    assert bundle.evidence.parity is not None  # an export is always proved
    _keep(done, bundle.evidence.parity)
    done.files["bundle"] = folder
    return bundle


def _measure(job: _Job, done: Demonstration, bundle: Bundle) -> Bundle:
    require("pycocotools", "validate")
    from ghost_deploy.demo.scene_files import LABELS
    from ghost_deploy.judge.accuracy.validation import run_accuracy
    from ghost_deploy.judge.datasets.opening import open_dataset

    dataset = open_dataset(done.folder / "scenes" / LABELS)
    loaded = load_checkpoint(job.source, ())
    report = run_accuracy(bundle, dataset, loaded=loaded, progress=job.tell)
    _keep(done, report)
    return _with_evidence(bundle, report.thin())


def _time(job: _Job, done: Demonstration, bundle: Bundle) -> Bundle:
    from ghost_deploy.core.evidence.latency import Settings
    from ghost_deploy.judge.bench.benchmark import run_bench

    report = run_bench(
        [bundle],
        job.images[: job.extent.pictures],
        settings=Settings(duration_s=job.extent.seconds, rounds=job.extent.rounds, warmup_s=0.3),
        image_source="generated scenes",
        progress=job.timing,
    )
    _keep(done, report)
    return _with_evidence(bundle, report.only([bundle.path.name]))


def _with_evidence(bundle: Bundle, document: Document) -> Bundle:
    proved = bundle.with_evidence(document)
    proved.save()
    return proved


def _keep(done: Demonstration, document: Document) -> None:
    path = done.folder / f"{document.KIND}.json"
    path.write_bytes(msgspec.json.encode(document.to_document()))
    done.files[document.KIND] = path


def _write_report(done: Demonstration, bundle: Bundle) -> None:
    from ghost_deploy.report.assemble import assemble
    from ghost_deploy.report.material import read_sources
    from ghost_deploy.report.write import write_report

    documents = [done.folder / name for name in _DOCUMENTS if (done.folder / name).is_file()]
    done.report = assemble(read_sources([*documents, bundle.path]))
    pages = dict(_PAGES)
    if importlib.util.find_spec("jinja2") is None:
        done.left_out["the HTML page"] = MissingExtraError.for_extra("jinja2", "report")
        del pages["html"]
    files = {form: done.folder / name for form, name in pages.items()}
    write_report(done.report, files)
    done.files["report"] = files.get("html", files["markdown"])


def _draw(done: Demonstration, bundle: Bundle, images: list[Path], tell: Progress) -> None:
    """Annotated pictures, by what the report recommends."""
    import cv2

    from ghost_deploy.api.load import load
    from ghost_deploy.processing import read_image
    from ghost_deploy.stream.draw import draw

    assert done.report is not None
    runs = list(_drawable(done.report))
    if not runs:
        done.left_out["annotated pictures"] = UnavailableError(
            "no artifact passes here, so that none may draw", fix="See the report for the reasons"
        )
        return
    runtime, precision = runs[0]
    folder = done.folder / "pictures"
    folder.mkdir(exist_ok=True)
    with load(bundle, runtime, precision) as detector:
        for index, path in enumerate(images):
            tell("drawing pictures", index, len(images))
            image = read_image(path)
            cv2.imwrite(str(folder / path.name), draw(image, detector(image)))
    done.files["pictures"] = folder


def _drawable(report: Report) -> Iterator[tuple[str, str]]:
    """Runtime and precision of the recommended row, else of those that pass."""
    chosen = report.verdict.row
    if chosen is not None:
        yield report.rows[chosen].runtime, report.rows[chosen].precision
    for row in report.rows:
        if row.standing == "passes":
            yield row.runtime, row.precision


def _silent(what: str, done: int, total: int) -> None:
    """No progress was asked for."""
