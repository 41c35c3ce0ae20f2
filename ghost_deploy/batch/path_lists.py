"""Lists of paths: text with a path a line, and Parquet files with a column of paths."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from ghost_deploy.batch.file_access import (
    FileAccess,
    is_http,
    is_remote,
    local_path,
    reason_of,
    shown,
)
from ghost_deploy.core.errors import InputError, StoreError, UsageError
from ghost_deploy.stream.sources.source_labels import scheme_of

_PATH_COLUMNS = ("path", "source", "file", "filename", "file_name", "image", "uri", "url")


def listed_paths(name: str, access: FileAccess) -> Iterator[str]:
    """The paths of a list, one a line; relative ones are beside the list or in this folder."""
    try:
        if is_remote(name):
            text = access.read(name, 1 << 34).decode("utf-8", "surrogateescape")
        else:
            text = Path(local_path(name)).read_bytes().decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        raise UsageError(f"there is no list {shown(name)}", fix="Check the path") from error
    except OSError as error:
        raise not_read(name, error) from error
    # Not splitlines(): names may hold U+2028 and others that it takes for the end of a line.
    lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    yield from _placed((line for line in lines if line.strip() and not line.startswith("#")), name)


def _placed(paths: Iterable[str], beside: str) -> Iterator[str]:
    """The paths as absolute ones or addresses."""
    folder = "" if is_remote(beside) else os.path.dirname(local_path(beside))
    for path in paths:
        if is_remote(path):
            yield path if is_http(path) else shown(path)
            continue
        found = _placed_file(path, folder)
        if path != path.strip() and not os.path.lexists(found):
            # Spaces around a name belong to it only where there is such a file.
            plain = path.strip()
            found = shown(plain) if is_remote(plain) else _placed_file(plain, folder)
        yield found


def _placed_file(path: str, folder: str) -> str:
    plain = local_path(path) if scheme_of(path) else path
    here = os.path.join(folder, plain)
    is_beside = folder and not os.path.isabs(plain) and os.path.lexists(here)
    return local_path(here if is_beside else plain)


def paths_of_parquet(
    file: str, access: FileAccess, column: str | None, note: Callable[[str], None]
) -> Iterator[str]:
    """The paths in a column of a Parquet file; see `find_sources`."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        source: Any = io.BytesIO(access.read(file, 1 << 34)) if is_remote(file) else file
        with parquet.ParquetFile(source) as opened:
            name = _path_column(opened.schema_arrow, column, shown(file))
            empty = 0
            for batch in opened.iter_batches(columns=[name]):
                values = batch.column(0).to_pylist()
                empty += sum(not value for value in values)
                yield from _placed((str(value) for value in values if value), file)
            if empty:
                note(f"{shown(file)}: {empty} rows without a path are left out")
    except FileNotFoundError as error:
        raise UsageError(f"there is no input {shown(file)}", fix="Check the path") from error
    except (pa.ArrowException, OSError) as error:
        raise not_read(file, error) from error


def _path_column(schema: Any, column: str | None, file: str) -> str:
    names = list(schema.names)
    found = [column] if column else [name for name in _PATH_COLUMNS if name in names]
    if found and found[0] in names:
        return str(found[0])
    raise UsageError(
        f"{file} has no column {column}" if column else f"{file} has no column of paths",
        got=", ".join(names),
        expected=None if column else f"one of {', '.join(_PATH_COLUMNS)}",
        fix="Name the column: --path-column NAME",
    )


def not_read(word: str, error: BaseException) -> InputError | StoreError:
    """The error of an input that is there and cannot be read."""
    return StoreError(
        f"{shown(word)} cannot be read",
        got=reason_of(error),
        fix="Check the path, the permissions and the credentials",
    )
