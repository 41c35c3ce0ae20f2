"""Measure the accuracy of a bundle on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ghost_deploy.api.common import (
    AnyPath,
    Note,
    log_note,
    open_bundle,
    require,
)
from ghost_deploy.api.open_checkpoint import ForkOption, open_source, require_source
from ghost_deploy.api.sign import is_signed, say_what_became
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import BundleError, UsageError
from ghost_deploy.core.evidence.json_document import something_ran
from ghost_deploy.core.progress import Progress
from ghost_deploy.runtimes.base import RuntimeOptions
from ghost_deploy.runtimes.inference_server import InferenceServer
from ghost_deploy.runtimes.served import served_view, server_of

if TYPE_CHECKING:
    from ghost_deploy.core.evidence.accuracy import AccuracyReport
    from ghost_deploy.judge.datasets.dataset import DataSet
    from ghost_deploy.processing.broken_images import OnBroken

_METRIC = "f1"


def validate(
    bundle: AnyPath | Bundle,
    data: AnyPath,
    *,
    split: str = "val",
    images: AnyPath | None = None,
    checkpoint: AnyPath | None = None,
    modules: Sequence[AnyPath] = (),
    fork: AnyPath | None = None,
    fork_unconfined: bool = False,
    other_checkpoint: bool = False,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    max_drop: float | None = None,
    map_classes: bool = False,
    skip_broken_labels: bool = False,
    on_broken: OnBroken = "skip",
    device: str = "cpu",
    threads: int = 0,
    allow_fallback: bool = False,
    url: str | InferenceServer | None = None,
    slices: int | None = None,
    overlap: float = 0.2,
    choose_thresholds: bool = False,
    metric: str | None = None,
    store: bool = True,
    progress: Progress | None = None,
    note: Note | None = None,
) -> AccuracyReport:
    """Measure COCO's mAP of every artifact of a bundle, and judge what each lost.

    Args:
        bundle: its folder, or what `export` returned.
        data: labelled images, `data.yaml` or a COCO `.json`.
        split: part of a `data.yaml`.
        images: folder of the images of a COCO `.json`.
        checkpoint: what the bundle was exported from: the reference. When None, the first fp32
            artifact that this machine runs is the reference, also of a server.
        modules: Python files with classes that the checkpoint names. They are run.
        fork, fork_unconfined: as in `export`; its network is used where no definition fits.
        other_checkpoint: measure although the bundle was exported from another file.
        runtimes, precisions: what is measured; all when None.
        max_drop: largest loss of mAP50-95 that passes, in points; by precision when None.
        map_classes: match the data's classes with the model's by name, whatever their order.
        skip_broken_labels: leave out labels that cannot be used, and count them.
        on_broken: of images that cannot be read: `skip` leaves them out and the report counts
            them, `stop` raises before anything is measured.
        device, threads, allow_fallback: as in `load`.
        url: of a server that runs a model of the bundle, as in `load`: that one alone is measured,
            and the report is not stored in the bundle.
        slices, overlap: also look into slices of each image, as in `load`; the reference is
            measured alike, and the report is not stored in the bundle.
        choose_thresholds: also choose the score threshold of each class, on the first artifact that
            passes; with `store` they become the bundle's default, see docs/results.md.
        metric: what they are chosen for: `f1` (when None), `precision=P` or `recall=R`, at IoU 0.5.
        store: put the report, without its curves and images, into the bundle's folder. A report
            without a verdict does not replace one with a verdict.
        progress, note: called for each image; and if the report was not stored (default: logged).

    Returns:
        The report; `report.outcome` is the verdict, None where nothing was judged.

    Raises:
        UsageError: another checkpoint, an unknown runtime or precision, or nothing to measure.
        InputError, ImageError: the data cannot be used, or its classes are not the model's.
        BundleError, CheckpointError: as in `parity`.
        UnavailableError: a package, or a runtime that was named, is missing.
        BackendError: the server is away.
    """
    (server, *_) = [server_of(None, url, name) for name in runtimes or ("auto",)]
    opened = _opened(bundle, checkpoint, other_checkpoint)
    from ghost_deploy.judge.accuracy.choose_thresholds import with_thresholds
    from ghost_deploy.judge.accuracy.validation import run_accuracy
    from ghost_deploy.processing.slices import Slicing

    metric = _checked(metric, choose_thresholds, slices)
    dataset = _readable(data, split, images, skip_broken_labels, on_broken, progress)
    own = ForkOption(fork, fork_unconfined)
    options = RuntimeOptions(device, "", threads, allow_fallback=allow_fallback, server=server)
    shared: dict[str, Any] = {"options": options, "map_classes": map_classes, "progress": progress}
    shared |= {"runtimes": runtimes, "precisions": precisions}
    local = opened if server else None
    if local:
        opened, shared["runtimes"] = served_view(opened, options), ["kserve"]
    with ExitStack() as stack:
        source = checkpoint and open_source(stack, checkpoint, modules, own, opened)
        report = run_accuracy(
            opened,
            dataset,
            loaded=source.loaded if source else None,
            max_drop=max_drop,
            slicing=None if slices is None else Slicing(slices, overlap),
            local=local,
            **shared,
        )
    if choose_thresholds:
        report = with_thresholds(report, opened, dataset, metric, **shared)
    if store:
        _store(opened, report, note or log_note, _unlike(slices, server), choose_thresholds)
    return report


def _readable(
    data: AnyPath,
    split: str,
    images: AnyPath | None,
    skip_broken: bool,
    on_broken: OnBroken,
    progress: Progress | None,
) -> DataSet:
    """The data set, with images that can be read."""
    from ghost_deploy.judge.datasets.open_dataset import open_dataset, readable_data

    dataset = open_dataset(data, split=split, images=images, skip_broken=skip_broken)
    return readable_data(dataset, on_broken, progress)


def _unlike(slices: int | None, server: InferenceServer | None) -> str:
    """What sets a measurement apart from that of the bundle's own files; empty if nothing."""
    return "in slices" if slices is not None else "on a server" if server is not None else ""


def _opened(bundle: AnyPath | Bundle, checkpoint: AnyPath | None, other_checkpoint: bool) -> Bundle:
    opened = open_bundle(bundle)
    if checkpoint is not None and not other_checkpoint:
        require_source(checkpoint, opened)
    require("pycocotools", "validate")
    return opened


def _checked(metric: str | None, choose_thresholds: bool, slices: int | None) -> str:
    """What thresholds are chosen for; what they cannot be is refused before measuring."""
    from ghost_deploy.judge.accuracy.threshold_search import ThresholdMetric

    wanted = metric or _METRIC
    ThresholdMetric.parse(wanted)
    if metric is not None and not choose_thresholds:
        raise UsageError(
            "--metric is that of --choose-thresholds",
            fix="Add --choose-thresholds (choose_thresholds=True), or leave it out",
        )
    if choose_thresholds and slices is not None:
        raise UsageError(
            "thresholds are chosen without slices",
            got=f"--slices {slices} and --choose-thresholds",
            fix="Leave one of them out",
        )
    return wanted


def _store(
    bundle: Bundle, report: AccuracyReport, note: Note, unlike: str, choose_thresholds: bool
) -> None:
    """Put the report into the bundle's folder; a bundle on a read-only disk is measured too."""
    if choose_thresholds and report.thresholds is None:
        note("no thresholds were chosen: no artifact that runs here passed its comparison")
    if unlike:
        note(f"measured {unlike}: the report was not stored in the bundle")
        return
    try:
        stored = changed = Bundle.read(bundle.path)
        kept = stored.evidence.accuracy
        if not something_ran(row.status for row in report.rows):
            note("nothing ran here: the report was not stored in the bundle")
        elif report.unjudged and kept is not None and not kept.unjudged:
            note("nothing was judged: the bundle keeps the verdict that it has")
        else:
            changed = changed.with_evidence(report.thin())
        chosen = report.thresholds
        if chosen is not None and len(chosen.chosen.kept) < len(chosen.classes):
            changed = changed.with_thresholds(chosen)
        elif chosen is not None:
            note("no threshold could be chosen: the bundle keeps those that it has")
        if changed is not stored:
            changed.save()
            say_what_became(changed, is_signed(bundle.path), note)
    except BundleError as error:
        note(f"the report was not stored in the bundle: {error}")
