"""Lists of paths: text with a path a line, and Parquet files with a column of paths."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

from ghost_deploy.batch.file_access import FileAccess, is_http, is_remote, local_path, shown
from ghost_deploy.batch.store_answers import reason_of
from ghost_deploy.core.errors import InputError, StoreError, UsageError
from ghost_deploy.stream.sources.source_labels import scheme_of

_PATH_COLUMNS = ("path", "source", "file", "filename", "file_name", "image", "uri", "url")
_LONGEST = 1 << 16
"""Most bytes of a path or an address."""


def listed_paths(name: str, access: FileAccess) -> Iterator[str]:
    """The paths of a list, one a line; relative ones are beside the list or in this folder."""
    try:
        with contextlib.ExitStack() as stack:
            file: BinaryIO
            if is_remote(name):
                file = io.BytesIO(access.read(name, 1 << 34))
            else:
                file = stack.enter_context(open(local_path(name), "rb"))
            yield from _placed(_lines(file, name), name)
    except FileNotFoundError as error:
        raise UsageError(f"there is no list {shown(name)}", fix="Check the path") from error
    except OSError as error:
        raise not_read(name, error) from error


def _lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a list that are not empty and no comment.

    They end with a line feed alone: names may hold U+2028 and others that `splitlines` takes for
    the end of a line. A device that never ends, or another file than a list, has longer ones.
    """
    start = codecs.BOM_UTF8
    while data := file.readline(_LONGEST + 1):
        if len(data) > _LONGEST:
            raise UsageError(
                f"{shown(name)} is no list of paths",
                got=f"a line of more than {_LONGEST} bytes",
                expected="a text with one path a line",
                fix="Name the file with the paths",
            )
        line = data.removeprefix(start).decode("utf-8", "surrogateescape")
        start = b""
        line = line.removesuffix("\n").removesuffix("\r")
        if line.strip() and not line.startswith("#"):
            yield line


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
                texts = [_text(value, name, file) for value in batch.column(0).to_pylist()]
                paths = [text for text in texts if text.strip()]
                empty += len(texts) - len(paths)
                yield from _placed(paths, file)
            if empty:
                note(f"{shown(file)}: {empty} rows without a path are left out")
    except FileNotFoundError as error:
        raise UsageError(f"there is no input {shown(file)}", fix="Check the path") from error
    except (pa.ArrowException, OSError) as error:
        raise not_read(file, error) from error


def _path_column(schema: Any, column: str | None, file: str) -> str:
    """The name of the column with the paths: the one asked for, else the first that may be it."""
    kinds = dict(zip(schema.names, schema.types, strict=True))
    found = [column] if column in kinds else [name for name in _PATH_COLUMNS if name in kinds]
    if not found or (column and column not in kinds):
        raise UsageError(
            f"{file} has no column {column}" if column else f"{file} has no column of paths",
            got=", ".join(schema.names),
            expected=None if column else f"one of {', '.join(_PATH_COLUMNS)}",
            fix="Name the column: --path-column NAME",
        )
    for name in found:
        if _is_text(kinds[name]):
            return str(name)
    raise UsageError(
        f"the column {found[0]} of {file} holds no paths",
        got=str(kinds[found[0]])[:200],
        expected="texts",
        fix="Name the column with the paths: --path-column NAME; a field of another column must "
        "become a column of its own",
    )


def _is_text(kind: Any) -> bool:
    """Whether a type of Arrow can hold paths; early writers of Parquet marked no text as such."""
    from pyarrow import types

    inner = kind.value_type if types.is_dictionary(kind) else kind
    names = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return str(inner) in {*names, "null"}


def _text(value: str | bytes | None, column: str, file: str) -> str:
    """A value of a column as a path; empty where there is none."""
    if value is None:
        return ""
    if len(value) > _LONGEST or (isinstance(value, bytes) and b"\0" in value):
        raise UsageError(
            f"the column {column} of {shown(file)} holds no paths",
            got=f"a value of {len(value)} bytes",
            expected="paths of files; the content of images is not read from there",
            fix="Name the column with the paths: --path-column NAME",
        )
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def not_read(word: str, error: BaseException) -> InputError | StoreError:
    """The error of an input that is there and cannot be read."""
    return StoreError(
        f"{shown(word)} cannot be read",
        got=reason_of(error),
        fix="Check the path, the permissions and the credentials",
    )
