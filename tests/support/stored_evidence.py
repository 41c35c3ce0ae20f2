"""Evidence of bundles as plain values, to read and to put in what no command would write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ghost_deploy.core.bundle import Bundle

__all__ = ["as_json", "evidence_of", "with_plain_evidence"]


def as_json(documents: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """Plain documents by kind, as `BundleDocument.evidence` has them."""
    return {kind: msgspec.Raw(msgspec.json.encode(plain)) for kind, plain in documents.items()}


def evidence_of(bundle: Bundle) -> dict[str, Any]:
    """The plain documents of a bundle by kind."""
    return {kind: msgspec.json.decode(text) for kind, text in bundle.document.evidence.items()}


def with_plain_evidence(bundle: Bundle, documents: Mapping[str, Any]) -> Bundle:
    """A copy of the bundle with `documents` among its evidence, not yet saved."""
    evidence = {**bundle.document.evidence, **as_json(documents)}
    return Bundle(bundle.path, msgspec.structs.replace(bundle.document, evidence=evidence))
