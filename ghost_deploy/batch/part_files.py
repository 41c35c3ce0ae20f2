"""Parquet parts in a folder or bucket: each is there whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ghost_deploy.batch.file_access import FileAccess, is_remote, puts_whole, shown
from ghost_deploy.batch.result_rows import COLUMNS, arrow_schema
from ghost_deploy.batch.source_stamps import Stamp
from ghost_deploy.batch.store_answers import is_missing, is_refused, reason_of
from ghost_deploy.core.errors import ExportError, StoreError
from ghost_deploy.core.files import write_whole

SUFFIX = ".parquet"
_ATTEMPTS_S = (1.0, 4.0)
"""Waits before a store that does not answer is asked again, seconds."""
_CONTINUE = "What was written is whole; run the same command again and it continues"


@dataclass(frozen=True)
class PartFiles:
    """The files of an output folder or bucket, by their name.

    Attributes:
        out: path or address of the folder, without credentials.
        access: opens the store.
    """

    out: str
    access: FileAccess = field(default_factory=FileAccess)

    @property
    def is_remote(self) -> bool:
        """Whether it is in a store, not on this machine."""
        return is_remote(self.out)

    def where(self, name: str) -> str:
        """Path or address of a file."""
        return f"{self.out.rstrip('/')}/{name}"

    def names(self) -> list[str]:
        """The names of all files in the folder, sorted; none where there is no folder.

        Raises:
            StoreError: the store refuses or does not answer.
        """
        try:
            if not self.is_remote:
                return sorted(os.listdir(self.out))
            from pyarrow import fs

            system, path = self.access.locate(self.out)
            selector = fs.FileSelector(path, allow_not_found=True)
            found = system.get_file_info(selector)
            return sorted(each.base_name for each in found if each.type == fs.FileType.File)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._failed("read", self.out, error) from error

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where there is none.

        Raises:
            StoreError: the store refuses or does not answer.
        """
        where = self.where(name)
        for wait_s in (*_ATTEMPTS_S, None):
            try:
                if self.is_remote:
                    return self.access.read(where, 1 << 34)
                return Path(where).read_bytes()
            except OSError as error:
                if is_missing(error):
                    return None
                if wait_s is None or is_refused(error) or not self.is_remote:
                    raise self._failed("read", where, error) from error
                time.sleep(wait_s)
        raise AssertionError

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Write or replace a file, whole or not at all.

        Raises:
            StoreError: the disk is full, or the store refuses or does not answer.
        """
        where = self.where(name)
        if not self.is_remote:
            try:
                write_whole(Path(where), lambda file: file.write(data))
            except ExportError as error:
                raise self._failed("write", where, error.__cause__ or error) from error
            return
        for wait_s in (*_ATTEMPTS_S, None):
            try:
                self._put(where, data)
                return
            except OSError as error:
                if wait_s is None or is_refused(error):
                    raise self._failed("write", where, error) from error
                time.sleep(wait_s)

    def remove(self, name: str) -> None:
        """Remove a file; one that is not there or cannot be removed is left."""
        if not self.is_remote:
            with contextlib.suppress(OSError):
                os.unlink(self.where(name))
            return
        for wait_s in (*_ATTEMPTS_S, None):
            try:
                system, path = self.access.locate(self.where(name))
                system.delete_file(path)
                return
            except OSError as error:
                if wait_s is None or is_missing(error) or is_refused(error):
                    return
                time.sleep(wait_s)

    def write_part(self, name: str, table: Any, facts: dict[str, str] | None = None) -> int:
        """Write a part.

        Args:
            name: of the part, without suffix.
            table: its rows.
            facts: kept in the metadata of the file.

        Returns:
            The size of the file, bytes.

        Raises:
            StoreError: as `write`.
        """
        from pyarrow import parquet

        if facts:
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), **facts})
        buffer = io.BytesIO()
        parquet.write_table(table, buffer, compression="zstd")
        self.write(name + SUFFIX, buffer.getbuffer())
        return buffer.getbuffer().nbytes

    def read_part(self, name: str, columns: list[str] | None = None) -> Any:
        """A part as a `pyarrow.Table`; None where there is none.

        Args:
            name: of the part, without suffix.
            columns: to read; all where None.

        Raises:
            StoreError: the store refuses or does not answer, or the file is damaged.
        """
        import pyarrow as pa
        from pyarrow import parquet

        data = self.read(name + SUFFIX)
        if data is None:
            return None
        try:
            table = parquet.read_table(pa.BufferReader(data), columns=columns)
            for missing in set(Stamp._fields) - set(table.column_names):  # of an early version
                table = table.append_column(missing, pa.nulls(len(table), pa.int64()))
            # Other programs that write a part again may change its types.
            names = columns or list(COLUMNS)
            schema = pa.schema([arrow_schema().field(each) for each in names])
            return table.select(names).cast(schema.with_metadata(table.schema.metadata))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise StoreError(
                f"{shown(self.where(name + SUFFIX))} is damaged or was changed",
                got=reason_of(error),
                fix="Remove it: its rows are then computed again",
            ) from error

    def _put(self, where: str, data: bytes | memoryview) -> None:
        system, path = self.access.locate(where)
        if puts_whole(where):
            with system.open_output_stream(path) as file:
                file.write(data)
            return
        system.create_dir(path.rpartition("/")[0], recursive=True)
        # Hidden, so that no reader takes it for a part.
        head, _, name = path.rpartition("/")
        temporary = f"{head}/.{name}.{uuid.uuid4().hex[:8]}"
        with system.open_output_stream(temporary) as file:
            file.write(data)
        system.move(temporary, path)

    def _failed(self, verb: str, where: str, error: BaseException) -> StoreError:
        is_full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT}
        if is_full:
            fix = f"Free some space. {_CONTINUE}"
        elif is_refused(error):
            fix = f"Check permissions and credentials. {_CONTINUE}"
        else:
            fix = f"Check the folder or the connection. {_CONTINUE}"
        what = "the disk is full: cannot" if is_full else "cannot"
        return StoreError(f"{what} {verb} {shown(where)}", got=reason_of(error), fix=fix)
