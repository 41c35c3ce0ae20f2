"""Writing a bundle: whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from ghost_deploy.core.bundle.folder import Bundle
from ghost_deploy.core.bundle.manifest import DOCUMENT, Artifact, BundleDocument, Source, sha256_of
from ghost_deploy.core.bundle.statement import SIGNING_FILES, drop_stale
from ghost_deploy.core.errors import UsageError
from ghost_deploy.core.evidence.kinds import Evidence
from ghost_deploy.core.files import disk_error, is_regular, permissions
from ghost_deploy.core.leftovers import Temporary, remove_leftovers
from ghost_deploy.core.spec import HeadSpec, InputSpec, ModelSpec


class BundleWriter:
    """Fill a new bundle in a hidden folder and put it in place at the end, whole or not at all.

    Use it as a context manager: write files below `folder`, call `add` for each artifact and
    `finish` once. Leaving the block without `finish` removes everything.

    Raises:
        UsageError: `target` exists and is no bundle, or is one and `overwrite` is not set.
        ExportError: the disk refuses; nothing is left behind.
    """

    def __init__(self, target: str | os.PathLike[str], *, overwrite: bool = False) -> None:
        self.target = Path(target)
        self._overwrite = overwrite
        self._artifacts: list[Artifact] = []
        self._check_name()
        parent = self.target.parent
        remove_leftovers(parent)  # may put a bundle back, which is checked next
        self._check_target()
        self._made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Temporary(self.target, folder=True)
        except OSError as error:
            self._remove_made()
            raise disk_error(self.target, error) from error
        self.folder = self._temporary.path

    def add(
        self,
        *,
        format: str,
        precision: str,
        path: Path,
        parent: str,
        tools: dict[str, str],
        options: dict[str, str] | None = None,
        extra_files: tuple[Path, ...] = (),
        form: str = "",
        head: HeadSpec | None = None,
        input: InputSpec | None = None,
    ) -> Artifact:
        """Record an artifact whose files lie below `folder`.

        Args:
            format, precision, parent, tools, options, form, head, input: as in `Artifact`.
            path: of the file that a runtime opens.
            extra_files: files that belong to it besides `path`.
        """
        parts = {self._relative(file): file for file in (path, *extra_files)}
        artifact = Artifact(
            format=format,
            precision=precision,
            path=self._relative(path),
            files={name: sha256_of(file) for name, file in parts.items()},
            sizes={name: file.stat().st_size for name, file in parts.items()},
            parent=parent,
            tools=tools,
            options=options or {},
            form=form,
            head=head,
            input=input,
        )
        self._artifacts.append(artifact)
        return artifact

    def forget(self, *ids: str) -> None:
        """Drop the records of artifacts, of all without `ids`, to record others; files stay."""
        self._artifacts = [each for each in self._artifacts if ids and each.id not in ids]

    def remove(self, artifact: Artifact) -> None:
        """Drop the record of an artifact that was added, and delete its files."""
        self.forget(artifact.id)
        places = [self.folder / name for name in artifact.files]
        for place in places:
            place.unlink()
        for parent in {place.parent for place in places} - {self.folder}:
            if not any(parent.iterdir()):
                parent.rmdir()

    def adopt(self, bundle: Bundle, *, without: Collection[str] = ()) -> None:
        """Take over the artifacts of a bundle and the files that its evidence names.

        Files are linked, or copied where the file system has no links: the bundle is unchanged
        until `finish` replaces it.

        Args:
            bundle: usually the one at the target.
            without: ids of artifacts that are made anew, see `Artifact.id`.

        Raises:
            BundleError: a file is missing or is not the one that was written.
            OSError: the disk refuses; leaving the block makes an ExportError of it.
        """
        for artifact in bundle.artifacts:
            if artifact.id in without:
                continue
            bundle.verified_path(artifact)
            for name in artifact.files:
                self._link(bundle.path / name, name)
            self._artifacts.append(artifact)
        for name in bundle.evidence_files():
            self._link(bundle.path / name, name)
        for name in SIGNING_FILES:  # `finish` drops those that do not hold
            if is_regular(bundle.path / name):
                self._link(bundle.path / name, name)

    def _link(self, file: Path, name: str) -> None:
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copy2(file, place)

    def draft(
        self, spec: ModelSpec, source: Source, created_with: str, evidence: Evidence | None = None
    ) -> Bundle:
        """Write `bundle.json` into the hidden folder and return that bundle, to be judged.

        Args:
            spec, source, created_with: as in `BundleDocument`.
            evidence: of the recorded artifacts; default: none.
        """
        document = BundleDocument(
            spec=spec,
            source=source,
            artifacts=tuple(self._artifacts),
            created_with=created_with,
            evidence=evidence.documents if evidence else {},
        )
        bundle = Bundle(self.folder, document)
        bundle.save()
        return bundle

    def finish(self) -> Bundle:
        """Put the folder in place and return the bundle there.

        Raises:
            ExportError: the disk refuses; an older bundle at the target is still there.
            UsageError: another process has created the target in the meantime.
        """
        self._check_target()
        drop_stale(self.folder, Bundle.read_own(self.folder).document)
        try:
            os.chmod(self.folder, permissions(0o777))
            self._temporary.replace_target()
        except OSError as error:
            raise disk_error(self.target, error) from error
        return Bundle.read_own(self.target)

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._temporary.close()
        self._remove_made()
        if isinstance(error, OSError):
            raise disk_error(self.target, error) from error

    def _relative(self, file: Path) -> str:
        return file.resolve().relative_to(self.folder.resolve()).as_posix()

    def _remove_made(self) -> None:
        """Remove the empty folders above the target that were created for it."""
        for folder in self._made:
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _check_name(self) -> None:
        try:
            os.fsencode(self.target.absolute()).decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.target} is not a name that every backend can open",
                got="bytes that are not UTF-8",
                fix="Choose a folder with another name",
            ) from error

    def _check_target(self) -> None:
        if not self.target.exists():
            return
        is_bundle = (self.target / DOCUMENT).is_file()
        is_empty_folder = self.target.is_dir() and not any(self.target.iterdir())
        if is_empty_folder or (is_bundle and self._overwrite):
            return
        raise UsageError(
            f"{self.target} exists already" + ("" if is_bundle else " and is not a bundle"),
            fix="Choose another folder"
            + (", or pass --overwrite (overwrite=True in Python)" if is_bundle else ""),
        )
