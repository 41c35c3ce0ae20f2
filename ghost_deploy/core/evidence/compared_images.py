"""Evidence of parity: the images that a comparison rests on."""

from __future__ import annotations

from typing import Literal

from ghost_deploy.core.evidence.json_document import Part


class ComparedImage(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An image that was compared: its file name, and the first 12 digits of its sha256."""

    name: str
    sha256: str


class ParityBasis(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The images and detections that the verdict rests on.

    Attributes:
        source: the user's images, or the demo scenes.
        strength: `weak` if a passed gate says little about the images that the model is for.
        images, detections: how many; detections are the reference's, above the threshold.
        sentence: the same in words.
    """

    source: Literal["images", "demo"]
    strength: Literal["good", "weak"]
    images: int
    detections: int
    sentence: str
