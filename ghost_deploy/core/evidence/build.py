"""Evidence of builds: the TensorRT engines of a bundle."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ghost_deploy.core.evidence.json_document import Document, Part

Hardware = Literal["", "ampere+", "same-compute-capability"]


class Fingerprint(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The machine that an engine is for.

    Attributes:
        tensorrt, cuda: versions, e.g. `10.3.0` and `12.6`.
        compute_capability, gpu: as in `Gpu`.
        platform: operating system and processor family, e.g. `linux-aarch64`.
        dla: the DLA core, None on the GPU.
        hardware: on which other GPUs it runs too; empty means none.
        version_compatible: newer versions of the same major TensorRT run it too.
    """

    tensorrt: str
    cuda: str
    compute_capability: str
    gpu: str
    platform: str
    dla: int | None = None
    hardware: Hardware = ""
    version_compatible: bool = False

    def __str__(self) -> str:
        where = f"DLA {self.dla} of {self.gpu}" if self.dla is not None else self.gpu
        return (
            f"TensorRT {self.tensorrt}, CUDA {self.cuda}, compute capability "
            f"{self.compute_capability} ({where}), {self.platform}"
        )


class DlaLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer that falls back to the GPU."""

    name: str
    type: str


class DlaReport(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of a network that a DLA core runs.

    Attributes:
        core: its number.
        layers: of the whole network.
        switches: how often the data goes from one processor to the other, in network order.
        fallbacks: layers that the GPU has to run.
    """

    core: int
    layers: int
    switches: int
    fallbacks: tuple[DlaLayer, ...]

    def summary(self) -> str:
        """The figures in one sentence."""
        kinds = sorted({layer.type for layer in self.fallbacks})
        names = f" ({', '.join(kinds)})" if kinds else ""
        return (
            f"DLA {self.core} takes {self.layers - len(self.fallbacks)} of {self.layers} layers; "
            f"{len(self.fallbacks)} fall back to the GPU{names}, {self.switches} switches"
        )


class BuildRecord(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One engine.

    Attributes:
        route: how its precision was reached.
        built_from: the ONNX artifact.
        fingerprint: of the machine that it runs on.
        workspace_mib: scratch memory that it was built with.
        precisions: number of layers by the precision that they really have.
        reformats: number of layers that only change the format.
        pinned: layers that were held in float32 or float16.
        dla: the part that the DLA runs; None on the GPU.
        timing_cache: `new`, `reused` or `ignored`.
        notes: for the user; warnings of the builder and ours.
    """

    route: str
    built_from: str
    fingerprint: Fingerprint
    workspace_mib: int
    precisions: dict[str, int]
    reformats: int
    pinned: int
    dla: DlaReport | None
    timing_cache: str
    notes: tuple[str, ...] = ()


class BuildRecords(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All engines of a bundle, by the id of their artifact."""

    KIND: ClassVar[str] = "build"

    engines: dict[str, BuildRecord] = {}
