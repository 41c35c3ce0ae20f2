"""The base of detection heads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, TypeAlias

from torch import Tensor

from ghost_deploy.models.block import Block, require
from ghost_deploy.models.fields import MisfitError, integer

Branch: TypeAlias = Literal["one2many", "one2one"]

MAX_STRIDE = 1024


def strides_of(value: object) -> tuple[int, ...]:
    """Check recorded strides: whole positive numbers, or all zero if never measured."""
    if not isinstance(value, list) or not 1 <= len(value) <= 8:
        raise MisfitError(f"{value!r:.60} is not a list of strides")
    if any(type(item) not in (int, float) or item != item // 1 for item in value):
        raise MisfitError(f"{value!r:.60} are not whole numbers")
    strides = tuple(int(item) for item in value)
    if strides == (0,) * len(strides):
        return ()
    if not all(1 <= stride <= MAX_STRIDE for stride in strides):
        raise MisfitError(f"strides must be 1 to {MAX_STRIDE}, got {strides}")
    return strides


class Head(Block):
    """The last layer of a detector.

    Attributes:
        decoder: of `HeadSpec`, for what `decode` gives of the branch with NMS.
        nc: number of classes. nl: number of levels.
        stride: pixels per cell of each level; empty until `DetectionNet` has measured them.
    """

    decoder: ClassVar[Literal["dfl", "anchors"]]
    nc: Annotated[int, integer(1, 100_000)]
    nl: Annotated[int, integer(1, 8)]
    stride: Annotated[tuple[int, ...], strides_of] = ()

    def fit(self) -> None:
        require(len(self.stride) in (0, self.nl), f"{self.nl} levels, strides {self.stride}")

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels per cell of each level; empty until measured."""
        return self.stride

    @property
    def has_one2many(self) -> bool:
        """Whether it has the branch that needs NMS."""
        return True

    @property
    def has_one2one(self) -> bool:
        """Whether it has the branch that needs no NMS."""
        return False

    def logits(
        self, features: Sequence[Tensor], branch: Branch = "one2many"
    ) -> tuple[list[Tensor], ...]:
        """Return the logits level by level, as the last convolutions give them.

        Args:
            features: the map of each level, (B, C, h, w).
            branch: a branch of this head.

        Returns:
            A list of maps for each kind of logits that the head computes apart.

        Raises:
            ValueError: the head does not have this branch.
        """
        raise NotImplementedError

    def raw(self, features: Sequence[Tensor], branch: Branch = "one2many") -> Tensor:
        """Return the logits of all levels in the layout of the output; see `logits`."""
        raise NotImplementedError

    def decode(
        self, raw: Tensor, sizes_hw: Sequence[tuple[int, int]], *, xyxy: bool = False
    ) -> Tensor:
        """Decode boxes and probabilities by the original's arithmetic, to the form of `decoder`.

        Args:
            raw: output of `raw`.
            sizes_hw: (height, width) of the map of each level, cells.
            xyxy: corners instead of centre x, centre y, width, height; letterboxed pixels. For a
                head with a one2one branch.
        """
        raise NotImplementedError
