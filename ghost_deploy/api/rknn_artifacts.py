"""RKNN files in a bundle that is being written; the vendor's simulator judges them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from numpy.typing import NDArray

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Artifact, Bundle, BundleWriter
from ghost_deploy.core.evidence.int8 import FileAccuracy, Int8Report, Int8Row, Judged
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.api.int8_artifacts import Int8Inputs
    from ghost_deploy.calib import CalibrationSet
    from ghost_deploy.export.cut_graph import Layout
    from ghost_deploy.export.rknn import RknnSource
    from ghost_deploy.judge.accuracy.int8_judge import Int8Judge

CALIBRATED_ON = 100
"""Calibration images that the toolkit gets; it keeps what they make in memory."""


@dataclass(frozen=True)
class RknnRequest:
    """What RKNN files to make.

    Attributes:
        socs: names of `SOCS`.
        precisions: `fp16`, `int8`.
        python: interpreter that has the toolkit.
        layout: of the outputs.
        algorithm: of the toolkit's quantization.
    """

    socs: tuple[str, ...]
    precisions: tuple[str, ...]
    python: str
    layout: Layout = "rockchip"
    algorithm: str = "normal"


class RknnFiles:
    """Makes RKNN files and keeps them open in the simulator until `stack` ends.

    Args:
        stack: ends the simulators.
        writer: of the bundle, whose fp32 ONNX artifact the files are made of.
        request: what is made.
        progress: called at each step.
    """

    def __init__(
        self,
        stack: ExitStack,
        writer: BundleWriter,
        request: RknnRequest,
        progress: Progress = silent,
    ) -> None:
        self._stack, self._writer, self._request = stack, writer, request
        self._progress = progress
        self._source: RknnSource | None = None
        self._without_rules: tuple[str, ...] = ()

    def add_float(self, bundle: Bundle) -> Bundle:
        """The draft with the float files, not compared yet.

        Raises:
            UsageError, ExportError: as `rknn_source` and `RknnNetwork`.
        """
        if "fp16" in self._request.precisions:
            for soc in self._request.socs:
                self._make(bundle, soc, "fp16", None)
        return self._draft(bundle)

    def add_int8(self, bundle: Bundle, inputs: Int8Inputs) -> Bundle:
        """The draft with the int8 files that are accurate enough, and their report.

        Raises:
            UsageError, ImageError, ExportError: as `rknn_source`, `CalibrationSet.batches`
                and `RknnNetwork`.
        """
        from ghost_deploy.calib.search.left_out import keep_or_remove
        from ghost_deploy.judge.parity.store_reference import ensure_reference, store_int8_outputs

        if "int8" not in self._request.precisions:
            return bundle
        source = self._source_of(bundle)
        chosen = inputs.images.subset(CALIBRATED_ON)
        judge = self._judge(bundle, inputs)
        limit = inputs.calibration.max_drop
        most = judge.default_max_drop if limit is None else limit
        rows = []
        for soc in self._request.socs:
            artifact = self._make(bundle, soc, "int8", chosen.batches(source.spec.input))
            path = self._writer.folder / artifact.path
            label = f"{artifact.id}, simulated"
            accuracy = replace(judge, spec=source.spec).accuracy("rknn", path, most, label)
            row = _row(artifact, accuracy, judge.facts.reference, most, len(chosen))
            keep_limit = judge.keep_limit if limit is None else None
            rows.append(keep_or_remove(self._writer, artifact, row, keep_limit))
        draft = self._draft(bundle)
        draft = draft.with_evidence(
            _report(draft, chosen, inputs.calibration.seed, judge.facts, rows)
        )
        options = RuntimeOptions()
        carried = inputs.images.subset(8).files(self._scratch())
        return store_int8_outputs(ensure_reference(draft, carried, options), options)

    def _make(
        self, bundle: Bundle, soc: str, precision: str, images: Iterable[NDArray[Any]] | None
    ) -> Artifact:
        from ghost_deploy.export.rknn import RknnNetwork
        from ghost_deploy.runtimes.rockchip import simulated, write_description

        source, request = self._source_of(bundle), self._request
        path = self._writer.folder / f"model.{precision}.{soc}.rknn"
        network = self._stack.enter_context(
            RknnNetwork(
                source,
                soc,
                path,
                request.python,
                self._scratch(),
                self._progress,
                images,
                request.algorithm,
                self._without_rules,
            )
        )
        self._without_rules = network.without_rules
        self._stack.enter_context(simulated(path, network.simulation))
        height, width = source.spec.input.size_hw
        parent = bundle.artifact("onnx", "fp32")
        return self._writer.add(
            format="rknn",
            precision=precision,
            path=path,
            parent=parent.files[parent.path],
            tools={"ghost-deploy": __version__, "rknn-toolkit2": network.version},
            options={
                "decoder": source.spec.head.decoder,
                "size": f"{height}x{width}",
                "input": "uint8 pixels",
                "layout": request.layout,
                **({"algorithm": request.algorithm} if precision == "int8" else {}),
                **({"without": ", ".join(network.without_rules)} if network.without_rules else {}),
            },
            extra_files=(write_description(path, soc, source.spec),),
            form=soc,
            head=source.spec.head,
            input=source.spec.input,
        )

    def _source_of(self, bundle: Bundle) -> RknnSource:
        from ghost_deploy.export.rknn import rknn_source

        if self._source is None:
            whole = bundle.verified_path(bundle.artifact("onnx", "fp32"))
            self._progress("RKNN: cutting the graph before its decoding", 0, 0)
            self._source = rknn_source(whole, bundle.spec, self._request.layout)
        return self._source

    def _scratch(self) -> Path:
        from ghost_deploy.core.scratch import scratch_folder

        return self._stack.enter_context(scratch_folder())

    def _judge(self, bundle: Bundle, inputs: Int8Inputs) -> Int8Judge:
        from ghost_deploy.judge.accuracy.int8_judge import QUICK_AGREEMENT_IMAGES, int8_judge

        data = inputs.data or inputs.images.subset(QUICK_AGREEMENT_IMAGES).files(self._scratch())
        whole = bundle.verified_path(bundle.artifact("onnx", "fp32"))
        options = RuntimeOptions()
        return int8_judge(bundle.spec, whole, data, options, self._progress, early=True)

    def _draft(self, bundle: Bundle) -> Bundle:
        return self._writer.draft(
            bundle.spec, bundle.document.source, bundle.document.created_with, bundle.evidence
        )


def rknn_request(
    socs: Sequence[str], precisions: Sequence[str], python: Any, layout: Layout
) -> RknnRequest | None:
    """What to make; None without systems on a chip.

    Raises:
        UsageError, MissingExtraError: as `Converter.python`.
    """
    if not socs:
        return None
    from ghost_deploy.export.rknn import rknn_converter

    found = rknn_converter().python(python)
    return RknnRequest(tuple(socs), tuple(precisions), found, layout)


def _row(
    artifact: Artifact, accuracy: FileAccuracy, reference: float, most: float, images: int
) -> Int8Row:
    drop = reference - accuracy.points
    status: Literal["passed", "failed"] = "passed" if drop <= most else "failed"
    return Int8Row(
        artifact=artifact.id,
        sha256=artifact.files[artifact.path],
        form=artifact.form,
        judged_on="rknn",
        recipe=f"rknn-toolkit2 {artifact.options['algorithm']}",
        status=status,
        points=accuracy.points,
        drop=drop,
        max_drop=most,
        drop_low=accuracy.low,
        drop_high=accuracy.high,
        images=accuracy.images,
        notes=(
            f"quantized by the toolkit on {images} images and judged on its simulator; check it on "
            "the board: ghost-deploy check BUNDLE --device npu",
        ),
        simulated=True,
    )


def _report(
    bundle: Bundle, images: CalibrationSet, seed: int, judged: Judged, rows: Sequence[Int8Row]
) -> Int8Report:
    """The report of the bundle with these rows; a new one where there is none."""
    from ghost_deploy.calib.search.advice import verdict
    from ghost_deploy.calib.search.make import calibration_facts

    old = bundle.evidence.int8
    if old is None:
        parent = bundle.artifact("onnx", "fp32")
        old = Int8Report(
            model=bundle.spec.name,
            parent=parent.files[parent.path],
            calibration=calibration_facts(images, bundle.spec.input, seed),
            judged=judged,
            rows=(),
        )
    report = msgspec.structs.replace(old, rows=(*old.rows, *rows))
    return msgspec.structs.replace(report, verdict=verdict(report))
