"""Evidence of a fork's own code: what was executed, and how it compares with our definition."""

from __future__ import annotations

from typing import ClassVar, Literal

from ghost_deploy.core.evidence.compared_images import ComparedImage
from ghost_deploy.core.evidence.json_document import Document, Part
from ghost_deploy.core.evidence.parity import TensorFigures


class ForkCode(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The code of a fork that was executed.

    Attributes:
        folder: name of the folder or file, without its place on the machine.
        digest: sha256 over the names and hashes of all its Python files.
        files: sha256 of the files that were imported, by path inside the folder.
        confined: whether it ran in namespaces of its own, without network and unable to write;
            else only limited.
        class_path: `module.Class` of the network.
        versions: of Python and the packages that it used, as it reported them.
        absent: packages that it imports and that are not installed; it did not use them.
    """

    folder: str
    digest: str
    files: dict[str, str]
    confined: bool
    class_path: str
    versions: dict[str, str] = {}
    absent: tuple[str, ...] = ()


class ForkReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a fork's own code was used for.

    Attributes:
        role: `reference`: no definition of ours fits, the graph and the reference outputs are the
            fork's; `judge`: our definition was compared with the fork's network.
        code: that was executed.
        status: of a judge: whether all outputs are within the limits; `unjudged` of a reference.
        arithmetic: of the comparison, on both sides: `float64`, or `float32` where the fork's code
            does not run in float64.
        max_score, max_box_px: limits: largest difference of raw scores, and of raw boxes in
            letterboxed pixels.
        figures: raw outputs on identical tensors; None of a reference.
        images: that were compared.
        reasons: why it failed.
    """

    KIND: ClassVar[str] = "fork"

    role: Literal["reference", "judge"]
    code: ForkCode
    status: Literal["passed", "failed", "unjudged"] = "unjudged"
    arithmetic: str = ""
    max_score: float | None = None
    max_box_px: float | None = None
    figures: TensorFigures | None = None
    images: tuple[ComparedImage, ...] = ()
    reasons: tuple[str, ...] = ()

    @property
    def outcome(self) -> bool | None:
        """Whether our definition agrees; None where nothing was compared."""
        return None if self.status == "unjudged" else self.status == "passed"

    def summary(self) -> str:
        """The result in one sentence."""
        where = "confined" if self.code.confined else "not confined"
        code = f"{self.code.folder} ({where})"
        if self.role == "reference" or self.figures is None:
            return (
                f"the network is the fork's own, executed from {code}: no definition of ours fits"
            )
        apart = (
            f"{self.figures.box_px.max:.2g} px and {self.figures.score.max:.2g} in score, "
            f"{self.arithmetic}, {len(self.images)} images"
        )
        agrees = "equals" if self.status == "passed" else "differs from"
        return f"our definition {agrees} the fork's own code from {code}: {apart}"
