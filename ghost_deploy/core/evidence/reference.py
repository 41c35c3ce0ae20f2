"""The images and reference outputs that a bundle carries."""

from __future__ import annotations

from typing import ClassVar

from ghost_deploy.core.evidence.base import Document

__all__ = ["ReferenceNote"]


class ReferenceNote(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the bundle says of its reference.

    Attributes:
        file, sha256: where it is.
        pictures: how many.
        source: `images` of the user, or `demo` scenes.
        reference: what computed the outputs.
    """

    KIND: ClassVar[str] = "reference"

    file: str
    sha256: str
    pictures: int
    source: str
    reference: str
