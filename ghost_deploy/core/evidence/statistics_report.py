"""Evidence of the arithmetic: recorded batch norm statistics against what arrives at the norms."""

from __future__ import annotations

from typing import ClassVar, Literal

from ghost_deploy.core.evidence.json_document import Document, Part

StatisticsVerdict = Literal["agrees", "disagrees", "not judged"]


class NormRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One batch norm.

    Attributes:
        name: in the network. definition: of the layer that it belongs to.
        mean: median over its channels of |mean - recorded mean| / recorded sd.
        sd: median over its channels of |log(sd / recorded sd)|.
        limit: from which the larger of the two is outside the band; 0.0 where the norm is not
            judged.
        judged: whether it counts for the verdict.
    """

    name: str
    definition: str
    mean: float
    sd: float
    limit: float = 0.0
    judged: bool = True


class ChoiceRow(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Modules whose parts fit several definitions.

    Attributes:
        class_path: as named in the checkpoint.
        modules: how many. used: the definition in use. others: that fit too.
        decided_by: `images`: recorded statistics; `class name`: stock Ultralytics, and the
            statistics were not asked or do not tell.
        margin: deviation of the best other definition over that of the one in use, at the norms
            where they differ; 0.0 where it was not measured.
    """

    class_path: str
    modules: int
    used: str
    others: tuple[str, ...]
    decided_by: Literal["images", "class name"]
    margin: float = 0.0


class StatisticsReport(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the network computes what the batch norms of the checkpoint recorded in training.

    Attributes:
        checkpoint: file name of the weights.
        verdict: `not judged` where the images are of another kind, or nothing was recorded.
        sentence: the reason, in words.
        images: how many. source: what they are.
        view: input size of the images, e.g. `416 x 416 pixels`.
        departs: the first norm outside the band; empty unless the verdict is `disagrees`.
        norms: in the order in which they run.
        choices: modules whose parts fit several definitions.
        unseen: what batch norms cannot tell.
        seconds: that it took.
    """

    KIND: ClassVar[str] = "statistics"

    checkpoint: str
    verdict: StatisticsVerdict
    sentence: str
    images: int = 0
    source: Literal["images", "training plots", "none"] = "none"
    view: str = ""
    departs: str = ""
    norms: tuple[NormRow, ...] = ()
    choices: tuple[ChoiceRow, ...] = ()
    unseen: str = ""
    seconds: float = 0.0

    @property
    def outcome(self) -> bool | None:
        """Whether it agrees; None where it was not judged."""
        return None if self.verdict == "not judged" else self.verdict == "agrees"

    def summary(self) -> str:
        """The verdict in one sentence."""
        return f"Recorded statistics: {self.verdict}. {self.sentence}"
