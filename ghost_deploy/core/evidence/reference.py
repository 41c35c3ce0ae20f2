"""Evidence of the reference: the images and reference outputs that a bundle carries."""

from __future__ import annotations

from typing import ClassVar

from ghost_deploy.core.evidence.json_document import Document


class ReferenceNote(
    Document,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename={"images": "pictures"},
):
    """The file in a bundle that holds images and reference outputs, see `StoredReference`.

    Attributes:
        file, sha256: of the file.
        images: number of images; the JSON key is `pictures`.
        source: `images` of the user, or `demo` scenes.
        reference: what computed the outputs.
    """

    KIND: ClassVar[str] = "reference"

    file: str
    sha256: str
    images: int
    source: str
    reference: str
