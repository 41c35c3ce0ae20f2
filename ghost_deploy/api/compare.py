"""Compare a new model with an old one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.api.common import AnyPath, is_bundle, model_file, open_bundle, require
from ghost_deploy.core.bundle import Bundle, sha256_of
from ghost_deploy.core.bundle.verdicts import failed_verdicts
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.comparison import ComparedModel, CompareReport
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.opener import open_path, open_planned
from ghost_deploy.runtimes.run_plan import choose

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.latency import BenchReport
    from ghost_deploy.judge.accuracy.compare_models import OpenModel
    from ghost_deploy.judge.bench.selection import BenchCandidate
    from ghost_deploy.processing.broken_images import OnBroken

MAX_DROP = 0.5
"""Largest loss of mAP50-95 that passes, in points."""

_BENCH_IMAGES = 16
_ROUNDS_A_SECOND = 4


@dataclass(frozen=True)
class _Model:
    """One of the two, open; `path` is the file, `bytes` the size of all that belongs to it."""

    open: OpenModel
    path: Path
    bytes: int
    warnings: tuple[str, ...] = ()


def compare(
    old: AnyPath | Bundle,
    new: AnyPath | Bundle,
    data: AnyPath,
    *,
    split: str = "val",
    images: AnyPath | None = None,
    runtimes: Sequence[str] = ("auto",),
    precisions: Sequence[str] | None = None,
    max_drop: float = MAX_DROP,
    map_classes: bool = False,
    skip_broken_labels: bool = False,
    on_broken: OnBroken = "skip",
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    duration_s: float = 5.0,
    progress: Progress | None = None,
) -> CompareReport:
    """Measure accuracy and latency of two models on the same images, and judge what was lost.

    mAP is paired: both models see the same images, and the same resampled ones for the intervals.
    Latency is measured as by `bench`.

    Args:
        old, new: bundles, of which is taken what `load` would take; or model files. They may be
            the same bundle in two precisions.
        data: labelled images, `data.yaml` or a COCO `.json`.
        split, images, skip_broken_labels, on_broken: as in `validate`.
        runtimes, precisions: one for both, or one for each; the choice of `load` when None.
        max_drop: largest loss of mAP50-95 that passes, points.
        map_classes: where the models have different classes, compare those that both have, by name;
            also match the classes of the data by name.
        device, threads, allow_fallback: as in `load`.
        duration_s: seconds to time each model; 0 for no times.
        progress: called for each image and step.

    Returns:
        The report; `report.outcome` is the verdict.

    Raises:
        UsageError: no such model, the same twice, different classes, or more than two names.
        InputError, ImageError: the data cannot be used.
        BundleError, BackendError, UnavailableError: a model cannot be opened or run.
    """
    require("pycocotools", "validate")
    from ghost_deploy.judge.accuracy.common_classes import CommonClasses
    from ghost_deploy.judge.accuracy.compare_models import ModelComparison
    from ghost_deploy.judge.datasets.open_dataset import open_dataset, readable_data

    options = RuntimeOptions(
        device=device, threads=threads, allow_fallback=allow_fallback, hint="throughput"
    )
    pairs = zip(_both(runtimes, "runtime"), _both(precisions or (None,), "precision"), strict=True)
    with ExitStack() as stack:
        first, second = (
            _open(stack, model, runtime, precision, options)
            for model, (runtime, precision) in zip((old, new), pairs, strict=True)
        )
        _check_different(first.open.facts, second.open.facts)
        names = first.open.facts.classes
        common = CommonClasses.of(names, second.open.facts.classes, by_name=map_classes)
        dataset = open_dataset(data, split=split, images=images, skip_broken=skip_broken_labels)
        labelled = common.data(dataset, names, by_name=map_classes)
        labelled = readable_data(labelled, on_broken, progress)
        judged = ModelComparison(labelled, common, progress=progress)
        accuracy = judged.run(first.open, second.open, max_drop)
    paths = [image.path for image in labelled.images[:_BENCH_IMAGES]]
    latency = _times((first, second), paths, options, duration_s, progress or silent)
    return CompareReport(
        old=first.open.facts,
        new=second.open.facts,
        accuracy=accuracy,
        latency=latency,
        left_out=common.left_out,
        warnings=(*first.warnings, *second.warnings),
    )


def _both(names: Sequence[str | None], what: str) -> Sequence[str | None]:
    if len(names) not in (1, 2):
        raise UsageError(
            f"there are two models and {len(names)} names of a {what}",
            fix="Give one for both, or one for each",
        )
    return [names[0], names[-1]]


def _open(
    stack: ExitStack,
    model: AnyPath | Bundle,
    runtime: str | None,
    precision: str | None,
    options: RuntimeOptions,
) -> _Model:
    if not isinstance(model, Bundle):
        model = model_file(Path(model))
    if isinstance(model, Bundle) or is_bundle(model):
        bundle = open_bundle(model)
        return _of_bundle(stack, bundle, runtime or "auto", precision, options)
    return _of_file(stack, model, runtime or "auto", precision, options)


def _of_bundle(
    stack: ExitStack, bundle: Bundle, runtime: str, precision: str | None, options: RuntimeOptions
) -> _Model:
    from ghost_deploy.detector import Detector
    from ghost_deploy.judge.accuracy.compare_models import OpenModel

    run = choose(bundle, runtime=runtime, precision=precision, options=options)
    detector = stack.enter_context(
        Detector(open_planned(bundle, run, options), bundle.spec_of(run.artifact))
    )
    artifact = run.artifact
    facts = ComparedModel(
        name=bundle.path.resolve().name,
        artifact=artifact.id,
        sha256=artifact.files[artifact.path],
        runtime=run.row.name,
        precision=run.precision,
        classes=bundle.spec.class_names,
    )
    failed = failed_verdicts(bundle, artifact, run.row.name, run.precision)
    return _Model(
        OpenModel(facts, detector),
        bundle.verified_path(artifact),
        sum((bundle.path / file).stat().st_size for file in artifact.files),
        tuple(f"{facts.label}: {verdict}" for verdict in failed),
    )


def _of_file(
    stack: ExitStack, path: Path, runtime: str, precision: str | None, options: RuntimeOptions
) -> _Model:
    from ghost_deploy.detector import Detector
    from ghost_deploy.judge.accuracy.compare_models import OpenModel

    if not path.exists():
        raise UsageError(f"there is no bundle or model {path}", fix="Check the path")
    options = replace(options, precision=precision or "")
    opened, spec = open_path(path, runtime=runtime, options=options)
    detector = stack.enter_context(Detector(opened, spec))
    facts = ComparedModel(
        name=path.name,
        artifact=path.name,
        sha256=sha256_of(path),
        runtime=opened.info.runtime,
        precision=opened.info.precision,
        classes=spec.class_names,
    )
    belonging = {each for each in (path, path.with_suffix(".bin")) if each.is_file()}
    size = sum(each.stat().st_size for each in belonging)
    return _Model(OpenModel(facts, detector), path.resolve(), size)


def _check_different(old: ComparedModel, new: ComparedModel) -> None:
    same = ("sha256", "runtime", "precision")
    if all(getattr(old, name) == getattr(new, name) for name in same):
        raise UsageError(
            "the old and the new model are the same",
            got=old.label,
            fix="Name two bundles, or two precisions of one: --precision fp32 int8",
        )


def _times(
    models: Sequence[_Model],
    images: Sequence[Path],
    options: RuntimeOptions,
    duration_s: float,
    progress: Progress,
) -> BenchReport | None:
    """The latency of both, in turns; None if no time is given to it."""
    from ghost_deploy.core.evidence.latency import Settings
    from ghost_deploy.judge.bench.benchmark import bench_candidates

    if not duration_s:
        return None
    rounds = max(4, round(_ROUNDS_A_SECOND * duration_s))
    names = [model.open.facts.name for model in models]
    if names[0] == names[1]:
        names = [f"{name} ({word})" for name, word in zip(names, ("old", "new"), strict=True)]
    old, new = (_candidate(model, name, options) for model, name in zip(models, names, strict=True))
    return bench_candidates(
        [new, replace(old, baseline=True)],
        images,
        models[1].open.detector.spec.input.size_hw,
        options,
        Settings(duration_s=duration_s, rounds=rounds),
        image_source="the labelled images",
        progress=lambda what, done, total: progress(
            f"{what}: round" if total else what, done, total
        ),
    )


def _candidate(model: _Model, name: str, options: RuntimeOptions) -> BenchCandidate:
    from ghost_deploy.core.evidence.latency import RunConfig
    from ghost_deploy.judge.bench.selection import BenchCandidate

    facts, spec = model.open.facts, model.open.detector.spec
    config = RunConfig(runtime=facts.runtime, precision=facts.precision, threads=options.threads)
    return BenchCandidate(
        subject=name,
        artifact=facts.artifact,
        path=model.path,
        sha256=facts.sha256,
        bytes=model.bytes,
        spec=spec,
        config=msgspec.structs.replace(config, batch=spec.input.batch[0]),
        failed_verdicts=model.warnings,
    )
