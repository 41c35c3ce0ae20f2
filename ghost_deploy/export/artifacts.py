"""An export: every artifact that was asked for, with its lineage."""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Artifact, BundleWriter, sha256_of
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.plan import Dynamic, Target, plan, plan_spec, require_tools

if TYPE_CHECKING:
    from ghost_deploy.checkpoints.loading import LoadedCheckpoint

__all__ = ["export_artifacts"]


def export_artifacts(
    loaded: LoadedCheckpoint,
    writer: BundleWriter,
    *,
    formats: Sequence[str] = (),
    precisions: Sequence[str] = (),
    size_hw: tuple[int, int] | None = None,
    dynamic: Dynamic | None = None,
    decoder: str | None = None,
    embed_preprocess: bool = False,
    progress: Callable[[str], None] | None = None,
) -> tuple[ModelSpec, list[Artifact]]:
    """Write the artifacts into the writer's folder and record them there.

    Args:
        loaded: the checkpoint; its network is not changed.
        writer: of the bundle.
        formats: `onnx`, `openvino`; both when none is named.
        precisions: `fp32`, `fp16`; both when none is named.
        size_hw: (height, width) of the input in pixels; the checkpoint's when None.
        dynamic: the ranges of a dynamic graph; None makes a static one of batch 1.
        decoder: `dfl` or `one2one`; the checkpoint's own when None.
        embed_preprocess: the graphs take uint8 pixels, (B, H, W, 3) BGR, letterboxed.
        progress: told what is being made, one line each.

    Returns:
        The description that all artifacts carry, and the artifacts in the order of making.

    Raises:
        UsageError: an unknown name, a size that does not fit, a branch that is not there.
        MissingExtraError: a package that an export needs is not installed.
        ExportError: a step failed.
        OSError: the disk refuses; leaving the writer's block makes an ExportError of it.
    """
    targets = plan(formats, precisions)
    require_tools(targets)
    _refuse_later_steps(targets)
    spec = plan_spec(
        loaded.spec,
        size_hw=size_hw,
        dynamic=dynamic,
        decoder=decoder,
        embedded=embed_preprocess,
    )
    if spec.input.size_hw != loaded.spec.input.size_hw:
        from ghost_deploy.models.flops import gflops

        spec = msgspec.structs.replace(spec, gflops=gflops(loaded.net, spec.input.size_hw))
    with tempfile.TemporaryDirectory(dir=writer.folder) as scratch:
        job = _Job(loaded, spec, writer, Path(scratch), progress or _silent)
        return spec, [_MAKERS[target.format](job, target) for target in targets]


@dataclass
class _Job:
    """What the makers of one export share; ONNX files are made once and kept by precision."""

    loaded: LoadedCheckpoint
    spec: ModelSpec
    writer: BundleWriter
    scratch: Path
    progress: Callable[[str], None]
    onnx_files: dict[str, Path] = field(default_factory=dict)

    def onnx_file(self, precision: str, folder: Path) -> Path:
        """The ONNX file of that precision, made in `folder` unless it is there already."""
        if precision not in self.onnx_files:
            from ghost_deploy.export.onnx import onnx_from_net

            model = onnx_from_net(self.loaded.net, self.spec, precision)
            path = folder / f"model.{precision}.onnx"
            path.write_bytes(model.SerializeToString(deterministic=True))
            self.onnx_files[precision] = path
        return self.onnx_files[precision]

    def options(self) -> dict[str, str]:
        """What shaped the graph, for the bundle."""
        size = self.spec.input
        options = {"decoder": self.spec.head.decoder, "size": _by(size.size_hw)}
        if size.embedded:
            options["input"] = "uint8 pixels"
        if size.dynamic:
            options["batch"] = f"{size.batch[0]} to {size.batch[1]}"
            options["sizes"] = f"{_by(size.min_hw)} to {_by(size.max_hw)}"
        return options


def _make_onnx(job: _Job, target: Target) -> Artifact:
    job.progress(f"ONNX {target.precision}")
    return job.writer.add(
        format=target.format,
        precision=target.precision,
        path=job.onnx_file(target.precision, job.writer.folder),
        parent=job.loaded.source.sha256,
        tools=_versions(target),
        options=job.options(),
    )


def _make_openvino(job: _Job, target: Target) -> Artifact:
    from ghost_deploy.export.openvino import write_openvino

    job.progress(f"OpenVINO {target.precision}")
    # Both precisions come from the fp32 graph: OpenVINO compresses the weights itself.
    source = job.onnx_file("fp32", job.scratch)
    folder = job.writer.folder / f"model.{target.precision}_openvino_model"
    path, *others = write_openvino(source, folder, job.spec, target.precision)
    return job.writer.add(
        format=target.format,
        precision=target.precision,
        path=path,
        parent=sha256_of(source),
        tools=_versions(target),
        options=job.options(),
        extra_files=tuple(others),
    )


_MAKERS: dict[str, Callable[[_Job, Target], Artifact]] = {
    "onnx": _make_onnx,
    "openvino": _make_openvino,
}


def _refuse_later_steps(targets: Sequence[Target]) -> None:
    if any(target.precision == "int8" for target in targets):
        raise UsageError(
            "int8 is made of float artifacts that are finished",
            got=", ".join(target.id for target in targets),
            expected="fp32, fp16",
            fix="Use ghost_deploy.export, or afterwards: ghost-deploy calibrate BUNDLE --calib DIR",
        )
    if any(target.format not in _MAKERS for target in targets):
        raise UsageError(
            "an engine is built from artifacts that are finished",
            got=", ".join(target.id for target in targets),
            expected=", ".join(_MAKERS),
            fix="Use ghost_deploy.export, or build it afterwards: ghost-deploy build BUNDLE --trt",
        )


def _versions(target: Target) -> dict[str, str]:
    found = {name: importlib.metadata.version(name) for name in target.packages}
    return {"ghost-deploy": __version__, **found}


def _by(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"


def _silent(line: str) -> None:
    """No progress was asked for."""
