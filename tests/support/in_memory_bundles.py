"""Bundles that exist only in memory, for what reads the document and opens no file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ghost_deploy.core.bundle import Artifact, Bundle, BundleDocument, Source
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.spec import ModelSpec
from tests.support.model_specs import make_spec

SPEC = make_spec()
SOURCE = Source(file="best.pt", sha256="0" * 64)


def bundle_in_memory(
    *artifacts: Artifact, evidence: Iterable[Document] = (), spec: ModelSpec = SPEC
) -> Bundle:
    """A bundle in the folder `out`, which is not there."""
    document = BundleDocument(spec=spec, source=SOURCE, artifacts=artifacts, created_with="test")
    bundle = Bundle(Path("out"), document)
    for each in evidence:
        bundle = bundle.with_evidence(each)
    return bundle
