"""What a worker of another process needs to open a model as the caller asked for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ghost_deploy.api.common import cache_dir, is_bundle, model_file
from ghost_deploy.api.load import FASTEST, choose_run, load
from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.errors import UsageError
from ghost_deploy.runtimes.base import RuntimeOptions

if TYPE_CHECKING:
    from ghost_deploy.batch.row_detector import OpenedModel


@dataclass(frozen=True)
class ModelSettings:
    """A model and how it is opened; it can be pickled. Attributes as the arguments of `load`.

    Attributes:
        classes: names or numbers of the classes to keep.
        class_conf: least score of classes by name or number.
    """

    model: str
    runtime: str = "auto"
    precision: str | None = None
    device: str = "cpu"
    threads: int = 1
    allow_fallback: bool = False
    allow_failed_parity: bool = False
    check: bool = True
    conf: float | None = None
    iou: float | None = None
    max_det: int | None = None
    agnostic: bool | None = None
    slices: int | None = None
    overlap: float = 0.2
    classes: tuple[str | int, ...] = ()
    class_conf: Mapping[str, float] = field(default_factory=dict)

    def open(self) -> OpenedModel:
        """Open the model.

        Raises:
            GhostDeployError: as `load`; UsageError: the model has no such class.
        """
        from ghost_deploy.api.stream import select_classes
        from ghost_deploy.batch.row_detector import OpenedModel

        sha256 = self.sha256()
        opened = load(
            self.model,
            self.runtime,
            self.precision,
            device=self.device,
            threads=self.threads,
            hint="throughput",
            allow_fallback=self.allow_fallback,
            allow_failed_parity=self.allow_failed_parity,
            check=self.check,
            conf=self.conf,
            iou=self.iou,
            max_det=self.max_det,
            agnostic=self.agnostic,
            slices=self.slices,
            overlap=self.overlap,
        )
        try:
            detector, wanted = select_classes(opened, self.classes, self.class_conf)
        except BaseException:
            opened.close()
            raise
        return OpenedModel(detector, wanted, sha256)

    def sha256(self) -> str:
        """Hash of the files that are opened: of a bundle those of the artifact.

        Raises:
            GhostDeployError: as `load`.
        """
        if "://" in self.model or self.runtime == "kserve":
            raise UsageError(
                "a model on a server cannot run an archive",
                got=self.model if "://" in self.model else "runtime kserve",
                expected="a bundle, and a runtime of the machines that the workers run on",
                fix="Give the bundle, with another --runtime or none: workers open it themselves",
            )
        path = model_file(Path(self.model))
        if is_bundle(path):
            bundle = Bundle.read(path)
            options = RuntimeOptions(
                device=self.device,
                precision="" if self.precision in (None, FASTEST) else self.precision,
                threads=self.threads,
                allow_fallback=self.allow_fallback,
                cache_dir=cache_dir(),
            )
            fastest = self.precision == FASTEST
            run = choose_run(bundle, self.runtime, options, fastest=fastest)
            hashes = dict(run.artifact.files)
        else:
            hashes = _hashes_of(path)
        if len(hashes) == 1:
            return next(iter(hashes.values()))
        text = "".join(f"{name}\0{digest}\0" for name, digest in sorted(hashes.items()))
        return hashlib.sha256(text.encode()).hexdigest()

    def resolved(self, opened: OpenedModel) -> ModelSettings:
        """These settings with the runtime and the precision that were obtained by name."""
        info = opened.detector.runtime.info
        precision = self.precision if self.precision != FASTEST else None
        return replace(
            self,
            model=os.path.abspath(self.model),
            runtime=info.runtime,
            precision=info.precision or precision,
        )


def _hashes_of(path: Path) -> dict[str, str]:
    from ghost_deploy.core.bundle.manifest import sha256_of

    if not path.is_file():  # `load` says so
        return {path.name: ""}
    weights = path.with_suffix(".bin")
    files = [path, weights] if path.suffix == ".xml" and weights.is_file() else [path]
    return {file.name: sha256_of(file) for file in files}
