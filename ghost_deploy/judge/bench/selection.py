"""What is measured: every artifact on every runtime, times batches, threads and streams."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ghost_deploy.core.bundle import DOCUMENT, Artifact, Bundle, sha256_of
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.latency import RunConfig
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.runtimes import RUNTIMES, RuntimeOptions, RuntimeRow, runtime_row

__all__ = ["Candidate", "Subject", "Wishes", "candidates", "label_of", "open_subjects"]


@dataclass(frozen=True)
class Subject:
    """A deployment: a bundle, or a single model file.

    `name` tells it from the others of the run.
    """

    name: str
    bundle: Bundle | None = None
    file: Path | None = None


@dataclass(frozen=True)
class Candidate:
    """A subject's model, how it is run, and whether others are compared with it.

    Attributes:
        artifact: its id in the bundle, or the name of the file.
        path: what the runtime opens.
        sha256: of that file.
        bytes: of all files that belong to it.
        spec: its description; None for a file, which may carry its own.
        named: it was asked for by name, so that it must not be left out.
        against: what the bundle's own evidence has against it.
    """

    subject: str
    artifact: str
    path: Path
    sha256: str
    bytes: int
    spec: ModelSpec | None
    config: RunConfig
    named: bool
    baseline: bool
    against: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wishes:
    """What to measure of each subject.

    Attributes:
        runtimes: names from the runtimes table; all when None.
        precisions: of the run; all when None.
        batches: images a request; the smallest that each graph takes when None.
        threads: CPU thread counts; 0 lets the runtime choose.
        streams: numbers of concurrent requests.
        options: device, and whether another will do.

    Raises:
        UsageError: an unknown name, or a count below what makes sense.
    """

    runtimes: Sequence[str] | None = None
    precisions: Sequence[str] | None = None
    batches: Sequence[int] | None = None
    threads: Sequence[int] = (0,)
    streams: Sequence[int] = (1,)
    options: RuntimeOptions = field(default_factory=RuntimeOptions)

    def __post_init__(self) -> None:
        known = {
            run for row in RUNTIMES.values() for runs in row.precisions.values() for run in runs
        }
        for name in self.precisions or ():
            _require(name in known, f"there is no precision {name!r}", sorted(known))
        for what, counts, least in (
            ("batch", (1,) if self.batches is None else self.batches, 1),
            ("number of threads", self.threads, 0),
            ("number of streams", self.streams, 1),
        ):
            fits = bool(counts) and min(counts) >= least
            _require(fits, f"a {what} is missing or too small", f"{least} or more")

    @property
    def rows(self) -> list[RuntimeRow]:
        """The runtimes."""
        names = RUNTIMES if self.runtimes is None else dict.fromkeys(self.runtimes)
        return [runtime_row(name) for name in names]


def label_of(subject: str, artifact: str, config: RunConfig) -> str:
    """A line's name of a candidate, e.g. `best onnx-fp32 on ort`; a bare file is named once."""
    return f"{' '.join(dict.fromkeys((subject, artifact)))} on {config.runtime}"


def open_subjects(models: Sequence[str | os.PathLike[str] | Bundle]) -> list[Subject]:
    """Read each bundle, find each file, and give each a name of its own.

    Raises:
        UsageError: none is given, one is not there, or one is given twice.
        BundleError: a folder is not a bundle.
    """
    _require(bool(models), "there is nothing to measure", "a bundle")
    places = [str(_place(model)) for model in models]
    for place, count in Counter(places).items():
        _require(count == 1, f"{place} is given twice", "each bundle once")
    short = Counter(Path(place).name for place in places)
    return [
        _open(model, Path(place).name if short[Path(place).name] == 1 else place)
        for model, place in zip(models, places, strict=True)
    ]


def candidates(subject: Subject, wishes: Wishes, *, baseline: bool = False) -> list[Candidate]:
    """Everything of a subject that fulfils the wishes.

    Raises:
        UsageError: there is nothing, or its graph does not take one of the batches.
        BundleError: a file of the bundle was changed.
    """
    models = list(
        _files(subject, wishes) if subject.bundle is None else _artifacts(subject, wishes)
    )
    if not models:
        held = (
            ", ".join(artifact.id for artifact in subject.bundle.artifacts) or "no artifact"
            if subject.bundle
            else subject.name
        )
        raise UsageError(
            f"nothing of {subject.name} can be measured",
            got=held,
            expected=f"runtimes {', '.join(row.name for row in wishes.rows)}; precisions "
            f"{', '.join(wishes.precisions) if wishes.precisions else 'any'}",
            fix="Name other runtimes or precisions, or export more of them",
        )
    counts = list(itertools.product(_batches(subject, wishes), wishes.threads, wishes.streams))
    return [
        Candidate(
            subject=subject.name,
            artifact=model.name,
            path=model.path,
            sha256=model.sha256,
            bytes=model.bytes,
            spec=subject.bundle.spec if subject.bundle else None,
            config=RunConfig(
                runtime=model.runtime,
                precision=model.precision,
                batch=batch,
                threads=threads,
                streams=streams,
            ),
            named=wishes.precisions is not None
            or (wishes.runtimes is not None and model.precision == model.own_precision),
            baseline=baseline,
            against=model.against,
        )
        for model in models
        for batch, threads, streams in counts
    ]


@dataclass(frozen=True)
class _Model:
    """A file to open with one runtime in one precision."""

    name: str
    path: Path
    sha256: str
    bytes: int
    runtime: str
    precision: str
    own_precision: str
    against: tuple[str, ...] = ()


def _artifacts(subject: Subject, wishes: Wishes) -> Iterator[_Model]:
    bundle = subject.bundle
    assert bundle is not None
    for artifact in bundle.artifacts:
        runs = list(_runs(artifact, wishes))
        if not runs:
            continue
        path = bundle.verified_path(artifact)
        size = sum((bundle.path / name).stat().st_size for name in artifact.files)
        for runtime, precision in runs:
            digest = artifact.files[artifact.path]
            failed = failed_verdicts(bundle, artifact, runtime, precision)
            against = tuple(map(str, failed))
            own = artifact.precision
            yield _Model(artifact.id, path, digest, size, runtime, precision, own, against)


def _runs(artifact: Artifact, wishes: Wishes) -> Iterator[tuple[str, str]]:
    for row in wishes.rows:
        # An int8 graph made for another runtime is slow here, and that says nothing about it.
        if row.format == artifact.format and artifact.form in ("", *row.forms):
            for precision in row.precisions.get(artifact.precision, ()):
                if wishes.precisions is None or precision in wishes.precisions:
                    yield row.name, precision


def _files(subject: Subject, wishes: Wishes) -> Iterator[_Model]:
    path = subject.file
    assert path is not None
    belonging = [each for each in (path, path.with_suffix(".bin")) if each.is_file()]
    size = sum(each.stat().st_size for each in dict.fromkeys(belonging))
    for row in wishes.rows:
        if path.suffix.lower() in row.suffixes:
            yield _Model(path.name, path.resolve(), sha256_of(path), size, row.name, "", "")


def _batches(subject: Subject, wishes: Wishes) -> Sequence[int]:
    if subject.bundle is None:
        return wishes.batches or (1,)
    low, high = subject.bundle.spec.input.batch
    for batch in wishes.batches or ():
        takes = f"{low}" if low == high else f"{low} to {high}"
        _require(low <= batch <= high, f"{subject.name} takes no batch of {batch}", takes)
    return wishes.batches or (low,)


def _place(model: str | os.PathLike[str] | Bundle) -> Path:
    path = model.path if isinstance(model, Bundle) else Path(model)
    return path.parent if path.name == DOCUMENT else path


def _open(model: str | os.PathLike[str] | Bundle, name: str) -> Subject:
    if isinstance(model, Bundle):
        return Subject(name, bundle=model)
    path = _place(model)
    if path.is_dir():
        return Subject(name, bundle=Bundle.read(path))
    if not path.is_file():
        raise UsageError(f"there is no bundle or model {path}", fix="Check the path")
    suffixes = sorted({suffix for row in RUNTIMES.values() for suffix in row.suffixes})
    _require(path.suffix.lower() in suffixes, f"no runtime reads {path}", ", ".join(suffixes))
    return Subject(name, file=path)


def _require(ok: bool, what: str, expected: object) -> None:
    if not ok:
        raise UsageError(what, expected=expected, fix="Correct that argument")
