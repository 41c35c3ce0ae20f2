"""Evidence of the reference: the images and reference outputs that a bundle carries."""

from __future__ import annotations

from typing import ClassVar

from ghost_deploy.core.evidence.json_document import Document, Part


class Int8Outputs(Part, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What computed the stored outputs of an int8 artifact.

    Attributes:
        runtime, version: of the backend.
        native: whether it computed in int8; else it emulated the arithmetic in float.
        processor: that computed them, as `MachineFacts.cpu_key`; empty where an older version
            stored them.
    """

    runtime: str
    version: str
    native: bool
    processor: str = ""


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
        source: `images` of the user, `calibration` images, or `demo` scenes.
        reference: what computed the outputs.
        detections: of the reference in the images.
        int8: int8 artifacts whose own outputs are stored too, by the sha256 of their file.
    """

    KIND: ClassVar[str] = "reference"

    file: str
    sha256: str
    images: int
    source: str
    reference: str
    detections: int = 0
    int8: dict[str, Int8Outputs] = {}
