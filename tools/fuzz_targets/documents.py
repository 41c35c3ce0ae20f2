"""Documents of a bundle, descriptions of models and reports."""

from __future__ import annotations

import contextlib
import io
import subprocess
from collections.abc import Sequence

import msgspec

import ghost_deploy as gd
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.spec import ModelSpec
from tests.support.constant_model import write_constant_bundle
from tests.support.model_specs import make_spec
from tools.fuzz_targets.target import SIDE, Target, small_scene


class BundleDocumentTarget(Target):
    """`bundle.json`: read, opened and run."""

    name = "bundle"
    is_json = True

    def make(self) -> Sequence[bytes]:
        bundle = write_constant_bundle(self.folder / "b")
        self._image = small_scene()
        found = [(self.folder / "b" / "bundle.json").read_bytes()]
        for document in _evidence():
            bundle.with_evidence(document).save()
            found.append((self.folder / "b" / "bundle.json").read_bytes())
        return found

    def run(self, data: bytes) -> object:
        (self.folder / "b" / "bundle.json").write_bytes(data)
        with gd.load(self.folder / "b", "ort", check=False, allow_failed_parity=False) as detector:
            return len(detector(self._image))


def _evidence() -> list[Document]:
    """Documents of several kinds."""
    from tests.support.int8_reports import int8_row, small_int8_report
    from tests.support.parity_reports import parity_row, small_parity_report
    from tests.support.report_documents import USUAL, accuracy_report, bench_report

    return [
        small_parity_report(parity_row(status="passed"), parity_row("onnx-fp16")),
        small_int8_report(int8_row("onnx-int8-ort-x86", 0.1)),
        accuracy_report(USUAL).thin(),
        bench_report(USUAL, samples=4),
    ]


class ReportTarget(Target):
    """What the commands print with --json, and reports, read and shown as pages."""

    name = "report"
    is_json = True

    def make(self) -> Sequence[bytes]:
        from tests.support.report_documents import (
            USUAL,
            accuracy_report,
            bench_report,
            make_report,
            parity_report,
        )

        made = (
            parity_report(USUAL),
            accuracy_report(USUAL),
            bench_report(USUAL, samples=4),
            make_report(USUAL),
        )
        return [msgspec.json.encode(each.to_document()) for each in made]

    def run(self, data: bytes) -> object:
        (self.folder / "r.json").write_bytes(data)
        page, text = self.folder / "page.html", self.folder / "page.markdown"
        gd.report(self.folder / "r.json", html=page, markdown=text)
        return None


class InspectedBundleTarget(BundleDocumentTarget):
    """`bundle.json`: shown by `inspect` and `report`."""

    name = "inspect"

    def run(self, data: bytes) -> object:
        from ghost_deploy.cli.main import main

        (self.folder / "b" / "bundle.json").write_bytes(data)
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(["inspect", str(self.folder / "b")])
        if "This is a bug" in said.getvalue():
            raise RuntimeError(said.getvalue())
        gd.report(self.folder / "b", markdown=self.folder / "page.md")
        return code


class SignedBundleTarget(Target):
    """The files of a signed bundle, read with trust: refused, or what was signed."""

    name = "signed"
    exact = True
    _CUT = b"\n--- next file ---\n"

    def make(self) -> Sequence[bytes]:
        from ghost_deploy.core.bundle.statement import MODEL_FILE

        write_constant_bundle(self.folder / "b")
        key = self.folder / "k"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
        subprocess.run(command, check=True)
        (self.folder / "trust").write_text(f"maker {key.with_suffix('.pub').read_text()}")
        gd.sign(self.folder / "b", key)
        self._names = ("bundle.json", MODEL_FILE, f"{MODEL_FILE}.sig")
        return [self._CUT.join((self.folder / "b" / name).read_bytes() for name in self._names)]

    def run(self, data: bytes) -> object:
        parts = data.split(self._CUT)
        for name, part in zip(self._names, parts + [b""] * 3, strict=False):
            (self.folder / "b" / name).write_bytes(part)
        bundle = gd.Bundle.read(self.folder / "b", trust=self.folder / "trust")
        return bundle.spec, bundle.document.source, bundle.artifacts, bundle.signers


class SpecTarget(Target):
    """The description of a model."""

    name = "spec"
    is_json = True

    def make(self) -> Sequence[bytes]:
        return [make_spec((SIDE, SIDE)).to_json()]

    def run(self, data: bytes) -> object:
        return ModelSpec.from_json(data)
