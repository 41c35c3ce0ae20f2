"""The float artifacts of an export, each with its lineage."""

from __future__ import annotations

import importlib
import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

import msgspec

from ghost_deploy._version import __version__
from ghost_deploy.core.bundle import Artifact, BundleWriter
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.progress import Progress, silent
from ghost_deploy.core.spec import ModelSpec
from ghost_deploy.export.opset import OPSET
from ghost_deploy.export.plan import plan_spec
from ghost_deploy.export.targets import Target

if TYPE_CHECKING:
    from onnx import ModelProto

    from ghost_deploy.checkpoints.fork.fork_checkpoint import AnyCheckpoint
    from ghost_deploy.export.converter_process import Converter


T = TypeVar("T")


def describe_export(
    loaded: AnyCheckpoint,
    *,
    size_hw: tuple[int, int] | None = None,
    dynamic: bool = False,
    embedded: bool = False,
    agnostic: bool = False,
) -> ModelSpec:
    """The description that all artifacts of an export carry.

    Args:
        loaded: the checkpoint.
        size_hw, dynamic, embedded, agnostic: as in `plan_spec`.

    Raises:
        UsageError: as `plan_spec`.
    """
    spec = plan_spec(
        loaded.spec, size_hw=size_hw, dynamic=dynamic, embedded=embedded, agnostic=agnostic
    )
    from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkCheckpoint

    if spec.input.size_hw == loaded.spec.input.size_hw or isinstance(loaded, ForkCheckpoint):
        return spec
    from ghost_deploy.models.flops import gflops

    return msgspec.structs.replace(spec, gflops=gflops(loaded.net, spec.input.size_hw))


def export_artifacts(
    loaded: AnyCheckpoint,
    spec: ModelSpec,
    targets: Sequence[Target],
    writer: BundleWriter,
    progress: Progress = silent,
    opset: int = OPSET,
    pythons: Mapping[str, str] | None = None,
) -> list[Artifact]:
    """Write artifacts into the writer's folder and record them there.

    Args:
        loaded: the checkpoint; its network is not changed.
        spec: of the export, see `describe_export`.
        targets: float graphs, `ExportPlan.graphs`.
        writer: of the bundle.
        progress: called once for each artifact, e.g. with `ONNX fp32`.
        opset: of the ONNX graphs.
        pythons: interpreters that have a vendor's converter, by its package.

    Returns:
        The artifacts, in the order of `targets`.

    Raises:
        UsageError: the head lacks the branch that the spec names.
        ExportError: a step failed.
        OSError: the disk refuses; leaving the writer's block raises ExportError instead.
    """
    with tempfile.TemporaryDirectory(dir=writer.folder) as scratch:
        session = ExportSession(loaded, spec, writer, Path(scratch), progress, opset, pythons or {})
        return [
            importlib.import_module(f"{__package__}.{target.format}").make_artifact(session, target)
            for target in targets
        ]


@dataclass
class ExportSession:
    """What the makers of one export share; an ONNX file is made once and kept by precision."""

    loaded: AnyCheckpoint
    spec: ModelSpec
    writer: BundleWriter
    scratch: Path
    progress: Progress
    opset: int = OPSET
    pythons: Mapping[str, str] = field(default_factory=dict)
    _onnx_files: dict[str, Path] = field(default_factory=dict)
    _foreign: bytes = b""
    _made: dict[str, object] = field(default_factory=dict)

    def onnx_file(self, precision: str, folder: Path | None = None) -> Path:
        """The ONNX file of that precision, made in `folder`, by default a temporary one, unless
        it exists already."""
        if precision not in self._onnx_files:
            model = self._graph(precision)
            path = (folder or self.scratch) / f"model.{precision}.onnx"
            path.write_bytes(model.SerializeToString(deterministic=True))
            self._onnx_files[precision] = path
        return self._onnx_files[precision]

    def python_of(self, converter: Converter) -> str:
        """The interpreter that has a vendor's converter; raises as `Converter.python`."""
        return converter.python(self.pythons.get(converter.package))

    def _graph(self, precision: str) -> ModelProto:
        from ghost_deploy.checkpoints.fork.fork_checkpoint import ForkCheckpoint

        if isinstance(self.loaded, ForkCheckpoint):
            from ghost_deploy.export.foreign_graph import onnx_from_fork

            if self.opset != OPSET:
                raise UsageError(
                    "a checkpoint that its own code traces is exported in one opset",
                    got=self.opset,
                    expected=OPSET,
                    fix="Leave out --opset",
                )
            if not self._foreign:
                self._foreign = self.loaded.process.trace(self.spec)
            return onnx_from_fork(self._foreign, self.spec, precision)
        from ghost_deploy.export.trace_onnx import onnx_from_net

        return onnx_from_net(self.loaded.net, self.spec, precision, self.opset)

    def once(self, name: str, make: Callable[[Path], T]) -> T:
        """What `make` returned for an empty temporary folder, the first time that it was asked for
        under that name."""
        if name not in self._made:
            folder = self.scratch / name
            folder.mkdir()
            self._made[name] = make(folder)
        return cast("T", self._made[name])

    def add(
        self,
        target: Target,
        path: Path,
        parent: str,
        extra_files: Sequence[Path] = (),
        tools: Mapping[str, str] | None = None,
        own: ModelSpec | None = None,
    ) -> Artifact:
        """Record an artifact.

        Args:
            target: what it is.
            path: what a runtime opens.
            parent: SHA-256 of the file that it was built from.
            extra_files: files that belong to it besides `path`.
            tools: versions of packages in other environments.
            own: description of the graph where it is not that of the export.
        """
        spec = own or self.spec
        versions = {name: importlib.metadata.version(name) for name in target.packages}
        return self.writer.add(
            format=target.format,
            precision=target.precision,
            path=path,
            parent=parent,
            tools={"ghost-deploy": __version__, **versions, **(tools or {})},
            options=self._options(target, spec),
            extra_files=tuple(extra_files),
            head=None if spec.head == self.spec.head else spec.head,
            input=None if spec.input == self.spec.input else spec.input,
        )

    def _options(self, target: Target, spec: ModelSpec) -> dict[str, str]:
        """What shaped the graph."""
        size = spec.input
        options = {"decoder": spec.head.decoder, "size": _by(size.size_hw)}
        if target.format == "onnx" and self.opset != OPSET:
            options["opset"] = str(self.opset)
        if size.embedded:
            options["input"] = "uint8 pixels"
        if size.dynamic:
            options["batch"] = f"{size.batch[0]} to {size.batch[1]}"
            options["sizes"] = f"{_by(size.min_hw)} to {_by(size.max_hw)}"
        return options


def _by(hw: tuple[int, int]) -> str:
    return f"{hw[0]}x{hw[1]}"
