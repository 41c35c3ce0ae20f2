"""What a benchmark measures: planned runs, times batches, threads and streams."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from ghost_deploy.core.bundle import DOCUMENT, Bundle, sha256_of
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.latency import BenchRow, RunConfig
from ghost_deploy.core.evidence.run_name import run_name
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.core.trusted_signers import refuse_if_trust_is_asked, trusted_signers
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.run_plan import (
    PlannedRun,
    check_precisions,
    plan_runs,
    require_each_runtime,
)
from ghost_deploy.runtimes.served import served_view, server_of
from ghost_deploy.runtimes.table import RUNTIMES, runtime_row

_MOST_STREAMS = 256


@dataclass(frozen=True)
class Subject:
    """A deployment: a bundle or a single model file; `name` is unique in the benchmark."""

    name: str
    bundle: Bundle | None = None
    file: Path | None = None


@dataclass(frozen=True)
class BenchCandidate:
    """A model of a subject and how it is run.

    Attributes:
        subject: name of the subject.
        artifact: its id in the bundle, or the name of the file.
        path: what the runtime opens.
        sha256: of that file.
        bytes: of all files that belong to it.
        spec: its description; None for a file, which may carry its own.
        config: how it is run.
        named: the user named the precision or the runtime: it is never skipped.
        baseline: the others are compared with it.
        failed_verdicts: verdicts in the evidence of the bundle that it failed, in sentences.
    """

    subject: str
    artifact: str
    path: Path
    sha256: str
    bytes: int
    spec: ModelSpec | None
    config: RunConfig
    named: bool = False
    baseline: bool = False
    failed_verdicts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """What to measure of each subject.

    Attributes:
        runtimes: names from the runtimes table; default: all.
        precisions: of the runs; default: all.
        batches: images a request; default: the smallest that each graph takes.
        threads: CPU thread counts; 0 lets the runtime choose.
        streams: numbers of concurrent requests.
        options: device, and whether a fallback is allowed.

    Raises:
        UsageError: unknown precision, or a count is missing, too small or too large.
    """

    runtimes: Sequence[str] | None = None
    precisions: Sequence[str] | None = None
    batches: Sequence[int] | None = None
    threads: Sequence[int] = (0,)
    streams: Sequence[int] = (1,)
    options: RuntimeOptions = field(default_factory=RuntimeOptions)

    def __post_init__(self) -> None:
        check_precisions(self.precisions)
        if "kserve" in (self.runtimes or ()):
            server_of(None, self.options.server, "kserve")
        for what, counts, least in (
            ("batch", (1,) if self.batches is None else self.batches, 1),
            ("number of threads", self.threads, 0),
            ("number of streams", self.streams, 1),
        ):
            fits = bool(counts) and min(counts) >= least
            _require(fits, f"a {what} is missing or too small", f"{least} or more")
        for threads in self.threads:
            RuntimeOptions(threads=threads)
        few = max(self.streams) <= _MOST_STREAMS  # each has a copy of the model
        _require(few, "a number of streams is too large", f"at most {_MOST_STREAMS}")


def label_of(measured: BenchCandidate | BenchRow, *, with_subject: bool = True) -> str:
    """Short name of a candidate, e.g. `best onnx-fp32 on ort`; a single file is named once."""
    config = measured.config
    name = run_name(measured.artifact, config.runtime, config.precision or "")
    of_bundle = with_subject and measured.subject != measured.artifact
    return f"{measured.subject} {name}" if of_bundle else name


def open_subjects(models: Sequence[str | os.PathLike[str] | Bundle]) -> list[Subject]:
    """Read the bundles, find the files, and give each a unique name.

    Raises:
        UsageError: none is given, one does not exist, or one is given twice.
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


def candidates(
    subject: Subject, selection: Selection, *, baseline: bool = False
) -> list[BenchCandidate]:
    """All candidates of a subject that the selection asks for.

    Int8 graphs made for another runtime are left out: their times here mean nothing.

    Args:
        subject: bundle or file.
        selection: runtimes, precisions, batches, threads and streams.
        baseline: the others are compared with this subject.

    Raises:
        UsageError: unknown runtime or precision, nothing to measure, or a batch that the graph
            does not take.
        BundleError: a file of an artifact was changed.
    """
    if subject.bundle is None:
        _require(
            baseline or selection.options.server is None,
            f"{subject.name} is no bundle, so that a model on a server cannot belong to it",
            "the bundle that the model on the server was made of",
        )
        models = _of_file(subject, selection)
    else:
        models = _of_bundle(subject.name, subject.bundle, selection)
    if not models:
        artifacts = subject.bundle.artifacts if subject.bundle else ()
        held = ", ".join(artifact.id for artifact in artifacts) or "no artifact"
        raise UsageError(
            f"nothing of {subject.name} can be measured",
            got=held if subject.bundle else subject.name,
            expected=f"runtimes {', '.join(selection.runtimes or RUNTIMES)}; precisions "
            f"{', '.join(selection.precisions or ('any',))}",
            fix="Name other runtimes or precisions, or export more of them",
        )
    counts = list(
        itertools.product(_batches(subject, selection), selection.threads, selection.streams)
    )
    return [
        replace(
            model,
            baseline=baseline,
            config=msgspec.structs.replace(
                model.config, batch=batch, threads=threads, streams=streams
            ),
        )
        for model in models
        for batch, threads, streams in counts
    ]


def _of_bundle(name: str, bundle: Bundle, selection: Selection) -> list[BenchCandidate]:
    found = []
    for run in _plans(bundle, selection):
        if run.foreign:
            continue
        artifact, runtime = run.artifact, run.row.name
        failed = failed_verdicts(bundle, artifact, runtime, run.precision)
        found.append(
            BenchCandidate(
                subject=name,
                artifact=artifact.id,
                path=bundle.verified_path(artifact),
                sha256=artifact.files[artifact.path],
                bytes=sum((bundle.path / file).stat().st_size for file in artifact.files),
                spec=bundle.spec_of(artifact),
                config=RunConfig(runtime=runtime, precision=run.precision),
                named=run.named,
                failed_verdicts=tuple(map(str, failed)),
            )
        )
    return found


def _plans(bundle: Bundle, selection: Selection) -> list[PlannedRun]:
    """The runs of this machine, and that of the server, which need not be among the runtimes.

    Raises:
        UsageError: the server runs none of the precisions.
    """
    names, options = selection.runtimes, selection.options
    local = None if names is None else [name for name in names if not runtime_row(name).remote]
    plans = plan_runs(bundle, local, selection.precisions)
    if options.server is not None:
        view = served_view(bundle, options)
        served = plan_runs(view, ["kserve"], selection.precisions)
        if not served:
            (artifact,) = view.artifacts
            raise UsageError(
                f"the model on the server is left out by its precision, {artifact.precision}",
                got=f"precisions {', '.join(selection.precisions or ())}",
                fix=f"Add {artifact.precision} to --precision, or leave out --url",
            )
        plans += served
    if plans:
        require_each_runtime(bundle, plans, names)
    return plans


def _of_file(subject: Subject, selection: Selection) -> list[BenchCandidate]:
    """The candidates of a file; without a description it runs in the precision of its graph."""
    path = subject.file
    assert path is not None
    belonging = {each for each in (path, path.with_suffix(".bin")) if each.is_file()}
    names = RUNTIMES if selection.runtimes is None else dict.fromkeys(selection.runtimes)
    return [
        BenchCandidate(
            subject=subject.name,
            artifact=path.name,
            path=path.resolve(),
            sha256=sha256_of(path),
            bytes=sum(each.stat().st_size for each in belonging),
            spec=None,
            config=RunConfig(runtime=row.name),
            named=selection.precisions is not None,
        )
        for row in map(runtime_row, names)
        if path.suffix.lower() in row.suffixes
    ]


def _batches(subject: Subject, selection: Selection) -> Sequence[int]:
    if subject.bundle is None:
        return selection.batches or (1,)
    low, high = subject.bundle.spec.input.batch
    for batch in selection.batches or ():
        if not low <= batch <= high:
            raise UsageError(
                f"{subject.name} takes no batch of {batch}",
                expected=f"{low}" if low == high else f"{low} to {high}",
                fix="Export it with --dynamic, which accepts batches of 1 to 16"
                if low == high
                else "Choose a batch in that range",
            )
    return selection.batches or (low,)


def _place(model: str | os.PathLike[str] | Bundle) -> Path:
    path = model.path if isinstance(model, Bundle) else Path(model)
    return path.parent if path.name == DOCUMENT else path


def _open(model: str | os.PathLike[str] | Bundle, name: str) -> Subject:
    if isinstance(model, Bundle) and trusted_signers() is None:
        return Subject(name, bundle=model)
    path = _place(model)
    if os.path.isdir(path):
        return Subject(name, bundle=Bundle.read(path))
    if not os.path.isfile(path):
        raise UsageError(f"there is no bundle or model {path}", fix="Check the path")
    refuse_if_trust_is_asked(str(path))
    suffixes = sorted({suffix for row in RUNTIMES.values() for suffix in row.suffixes})
    _require(path.suffix.lower() in suffixes, f"no runtime reads {path}", ", ".join(suffixes))
    return Subject(name, file=path)


def _require(ok: bool, what: str, expected: object) -> None:
    if not ok:
        raise UsageError(what, expected=expected, fix="Correct that argument")
