"""A bundle on disk: reading, checking, adding evidence."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ghost_deploy.core.bundle.manifest import DOCUMENT, Artifact, BundleDocument, sha256_of
from ghost_deploy.core.errors import BundleError, ExportError, GhostDeployError
from ghost_deploy.core.evidence.json_document import Document
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.files import MAX_TEXT_BYTES, is_regular, read_regular, write_whole
from ghost_deploy.core.leftovers import locked_folder
from ghost_deploy.core.spec import ModelSpec, decode_json, encode_json
from ghost_deploy.core.trusted_signers import trusted_signers

if TYPE_CHECKING:
    from ghost_deploy.core.bundle.trust import Signer
    from ghost_deploy.core.evidence.threshold_report import ThresholdReport


class Bundle:
    """A bundle on disk that was read and checked.

    Attributes:
        path: the folder.
        document: the content of `bundle.json`.
        signers: whose signatures were verified; none where trust was not asked for.
    """

    def __init__(
        self, path: Path, document: BundleDocument, signers: tuple[Signer, ...] = ()
    ) -> None:
        self.path = path
        self.document = document
        self.signers = signers

    def __repr__(self) -> str:
        ids = ", ".join(artifact.id for artifact in self.artifacts)
        return f"Bundle({str(self.path)!r}: {self.spec.name}; {ids})"

    @property
    def spec(self) -> ModelSpec:
        """The model's description."""
        return self.document.spec

    def spec_of(self, artifact: Artifact) -> ModelSpec:
        """The description of an artifact's graph, with which a detector opens it."""
        return artifact.spec_in(self.spec)

    @cached_property
    def evidence(self) -> Evidence:
        """The measurements of the artifacts."""
        return Evidence(self.document.evidence, str(self.path))

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """All artifacts, in the order in which they were written."""
        return self.document.artifacts

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        verify: bool = False,
        trust: str | os.PathLike[str] | None = None,
    ) -> Bundle:
        """Read `bundle.json` and check that the files of every artifact exist.

        Args:
            path: the folder, or its `bundle.json`.
            verify: also check the hash of every file now; `verified_path` does it for one.
            trust: a file of trusted signers; where None, that of `$GHOST_DEPLOY_TRUST`, if any. A
                bundle that none of them signed, or that was changed since, is refused before
                `bundle.json` is parsed; see docs/signing.md.

        Raises:
            BundleError: no bundle there, another schema, a missing or a changed file.
            SignatureError: it is not signed by a trusted signer, or was changed.
            UnavailableError: `ssh-keygen` is missing, which verifies signatures.
        """
        folder = Path(path)
        if folder.name == DOCUMENT:
            folder = folder.parent
        signers = trusted_signers() if trust is None else Path(trust)
        if signers is None or not os.path.exists(folder):
            return cls._read(folder, verify=verify)
        # Imported here: most bundles are opened without asking for trust.
        from ghost_deploy.core.bundle.trust import signed_statements

        signed = signed_statements(folder, signers)
        bundle = cls._read(folder, verify=False)
        signed.require(bundle.document)
        bundle.signers = signed.signers
        if verify:
            bundle._verify_all()
        return bundle

    @classmethod
    def read_own(cls, folder: Path) -> Bundle:
        """`read` of a bundle that this process has just written: no signature is asked for."""
        return cls._read(folder, verify=False)

    @classmethod
    def _read(cls, folder: Path, *, verify: bool) -> Bundle:
        file = folder / DOCUMENT
        try:
            data = read_regular(file, MAX_TEXT_BYTES)
        except NotADirectoryError as error:
            raise BundleError(
                f"{folder} is not a bundle",
                got="a file",
                expected=f"the folder with {DOCUMENT} that `ghost-deploy export` made",
                fix="Give the folder; where a checkpoint is needed too, it comes first",
            ) from error
        except OSError as error:
            raise BundleError(
                f"{folder} is not a bundle",
                got=f"{error.strerror} for {DOCUMENT}",
                fix="Make one with: ghost-deploy export CHECKPOINT -o BUNDLE",
            ) from error
        try:
            bundle = cls(folder, decode_json(data, BundleDocument, where=str(file)))
        except GhostDeployError as error:
            raise BundleError(
                f"{file} cannot be used",
                got=error.got,
                fix="It is damaged or from another version: export the model again",
            ) from error
        for artifact in bundle.artifacts:
            bundle._check_present(artifact)
        if verify:
            bundle._verify_all()
        return bundle

    def _verify_all(self) -> None:
        for artifact in self.artifacts:
            self.verified_path(artifact)

    def artifact(self, format: str, precision: str, form: str | None = None) -> Artifact:
        """The artifact of that format, precision and form.

        Args:
            format, precision: as in `Artifact`.
            form: as in `Artifact`; where None, the artifact without a form, or the only int8 one of
                the format that is no candidate.

        Raises:
            BundleError: the bundle has none, or several int8 ones; the message lists those that it
                has.
        """
        there = [a for a in self.artifacts if (a.format, a.precision) == (format, precision)]
        found = [each for each in there if each.form == (form or "")]
        if form is None and not found and precision == "int8":
            found = [each for each in there if not each.is_candidate]
        if len(found) == 1:
            return found[0]
        what = f"{format} artifact{'s' if found else ''} in {precision}"
        raise BundleError(
            f"{self.path} has {'several' if found else 'no'} {what}"
            + (f" of the form {form}" if form else ""),
            got=", ".join(a.id for a in (found or self.artifacts)) or "none",
            expected=f"one of {', '.join(each.form for each in found)}" if found else None,
            fix="Name its form"
            if found
            else "Export it" + (", or choose one of those" if self.artifacts else ""),
        )

    def verified_path(self, artifact: Artifact) -> Path:
        """Absolute path of the artifact, after its hashes were checked.

        Raises:
            BundleError: a file is missing or is not the one that was written.
        """
        self._check_present(artifact)
        for name, wanted in artifact.files.items():
            size, found = artifact.sizes.get(name), (self.path / name).stat().st_size
            # The size first: a file that was replaced by a huge one is not hashed for minutes.
            if size not in (None, found):
                raise self._changed(name, f"{found} bytes", f"{size} bytes")
            if (digest := self._sha256_of(name)) != wanted:
                raise self._changed(name, f"sha256 {digest[:12]}", wanted[:12])
        return (self.path / artifact.path).resolve()

    def evidence_files(self) -> tuple[str, ...]:
        """Names of the files that the evidence rests on, after their hashes were checked.

        A piece of evidence names one by `file`, a plain name, and `sha256`.

        Raises:
            BundleError: one is missing or is not the one that was written.
        """
        found = []
        for name, wanted in self.evidence.files():
            file = self.path / name
            plain = Path(name).name == name and is_regular(file)
            if not plain or self._sha256_of(name) != wanted:
                raise BundleError(
                    f"{file} is not the file that was written",
                    expected=f"sha256 {wanted[:12]}",
                    fix="Copy the bundle again, or export the model again",
                )
            found.append(name)
        return tuple(found)

    def with_evidence(self, document: Document) -> Bundle:
        """A copy with `document` as its evidence of that kind, not yet saved."""
        evidence = self.evidence.having(document).documents
        changed = msgspec.structs.replace(self.document, evidence=evidence)
        return Bundle(self.path, changed, self.signers)

    def with_thresholds(self, report: ThresholdReport) -> Bundle:
        """A copy whose spec has the thresholds of `report`, its evidence, not yet saved."""
        spec = msgspec.structs.replace(self.spec, chosen=report.chosen)
        document = msgspec.structs.replace(self.document, spec=spec)
        return Bundle(self.path, document).with_evidence(report)

    def save(self) -> None:
        """Write `bundle.json` atomically.

        Raises:
            BundleError: the folder cannot be written to; the old file is untouched.
        """
        data = encode_json(self.document)
        try:
            self.path.stat()  # `write_whole` would make the folder anew
            write_whole(self.path / DOCUMENT, lambda file: file.write(data))
        except (ExportError, OSError) as error:
            raise BundleError(
                f"cannot write {self.path / DOCUMENT}",
                got=error.got if isinstance(error, ExportError) else error.strerror,
                fix="Free some space or choose a folder that you may write to",
            ) from error

    @classmethod
    def amend(cls, path: Path, change: Callable[[Bundle], Bundle | None]) -> Bundle | None:
        """Read `bundle.json` as it is now, change it and save it.

        Processes that do so at the same time wait for each other, so that none loses what another
        wrote.

        Args:
            path: the folder.
            change: gives the changed bundle, or None to leave it as it is.

        Returns:
            What was saved; None where nothing was.

        Raises:
            BundleError: the bundle cannot be read or written to.
        """
        with locked_folder(path):
            changed = change(cls.read(path))
            if changed is not None:
                changed.save()
            return changed

    def _sha256_of(self, name: str) -> str:
        try:
            return sha256_of(self.path / name)
        except OSError as error:
            raise BundleError(
                f"cannot read {self.path / name}",
                got=error.strerror,
                fix="Copy the whole folder again, or export the model again",
            ) from error

    def _changed(self, name: str, got: str, expected: str) -> BundleError:
        return BundleError(
            f"{self.path / name} was changed after it was written",
            got=got,
            expected=expected,
            fix="Copy the bundle again, or export the model again",
        )

    def _check_present(self, artifact: Artifact) -> None:
        for name in artifact.files:
            if not is_regular(self.path / name):
                raise BundleError(
                    f"{self.path} lacks {name}",
                    fix="Copy the whole folder again, or export the model again",
                )
