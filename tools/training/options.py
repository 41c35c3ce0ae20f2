"""The options of a training run."""

from __future__ import annotations

import msgspec

from ghost_deploy.core.errors import UsageError

__all__ = ["Options"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training run; equal options and data give equal weights.

    Attributes:
        net: name in the zoo. init: checkpoint with the initial weights, empty for random ones.
        size: side of the square input, pixels. small: of the first epochs, 0 for half of it.
        epochs: number of epochs. plain: number of last epochs without mosaic.
        batch: images per step.
        rate: largest learning rate.
        seed: of the initial weights, the order and the augmentation.
        zoom: images are scaled by 1 - zoom to 1 + zoom.
        any_way_up: rotate by 90 degrees and flip vertically.
    """

    net: str
    size: int
    epochs: int
    small: int = 0
    init: str = ""
    plain: int = 0
    batch: int = 8
    rate: float = 1.5e-3
    seed: int = 0
    zoom: float = 0.5
    any_way_up: bool = False

    @property
    def first_size(self) -> int:
        """Side of the input of the first epochs, pixels, a multiple of 32."""
        return self.small or round(self.size / 64) * 32

    def check(self) -> None:
        """Raise `UsageError` for values out of range."""
        wrong = [
            name
            for name, ok in {
                "--size": self.size >= 64 and self.size % 32 == 0,
                "--small": self.small % 32 == 0 and 0 <= self.small <= self.size,
                "--epochs": self.epochs >= 1,
                "--plain": 0 <= self.plain <= self.epochs,
                "--batch": self.batch >= 2,
                "--rate": 0 < self.rate < 1,
                "--seed": self.seed >= 0,
                "--zoom": 0 <= self.zoom < 1,
            }.items()
            if not ok
        ]
        if wrong:
            raise UsageError(
                f"{', '.join(wrong)} out of range",
                expected="sizes that are multiples of 32, at least one epoch, no more plain "
                "epochs than epochs, a batch of at least 2, rate and zoom below 1, a seed from 0",
                fix="Correct the option",
            )
