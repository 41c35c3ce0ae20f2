"""Files on this machine and in object stores, by their address.

Stores are reached through `pyarrow.fs` (s3, gs, abfs, hdfs), and through fsspec for the addresses
that it does not know. Credentials are found as those libraries find them; ones that are written
into an address stay out of everything that is stored or shown.
"""

from __future__ import annotations

import errno
import functools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ghost_deploy.batch.source_stamps import (
    UNKNOWN,
    Stamp,
    stamp_of_file,
    stamp_of_object,
    stamp_of_stream,
)
from ghost_deploy.batch.store_answers import SIGNING, reason_of, store_errors
from ghost_deploy.batch.store_paths import AZURE, path_in_store
from ghost_deploy.core.errors import GhostDeployError, MissingExtraError, StoreError, UsageError
from ghost_deploy.core.install_command import install_command
from ghost_deploy.stream.sources.source_labels import scheme_of

_PUT_WHOLE = frozenset({"abfs", "abfss", "az", "gcs", "gs", "s3", "s3a"})
"""Stores in which an object is there when it is whole, and replaced at once."""

_QUERY = re.compile(r"\?(?=[\w.-]+=)")
_USER = re.compile(r"^([A-Za-z][\w+.-]*://)[^/]*@")
_AZURE_SECRET = re.compile(r"^([A-Za-z][\w+.-]*://)([^/@:]*):[^/]*(@)")
_SECRET_WITH_SLASH = re.compile(r"^([A-Za-z][\w+.-]*://)[^/@:]*:(?!\d*(?:/|$))[^@]*/.*@")
_AZURE = frozenset({"se", "sip", "ske", "skoid", "sks", "skt", "sktid", "skv", "sp", "spr"})
_AZURE_SIGNED = _AZURE | {"sr", "st", "sv"}
_GCS_WAITS_S = 60
"""Google's client tries a request again for so long; its default is a quarter of an hour."""


def is_remote(word: str) -> bool:
    """Whether the word is an address of a store, not a path of this machine."""
    return scheme_of(word) not in {"", "file"}


def local_path(word: str) -> str:
    """The absolute path of a word that is a path of this machine or a `file://` address."""
    if scheme_of(word) == "file":
        word = word[len("file://") :].removeprefix("localhost")
    path = os.path.abspath(word)
    # POSIX keeps exactly two slashes at the beginning; all systems we know take them for one.
    return path[1:] if os.name == "posix" and path.startswith("//") else path


def is_http(word: str) -> bool:
    """Whether it is a web address, in which the query is a part of what is fetched."""
    return scheme_of(word) in {"http", "https"}


def without_query(word: str) -> str:
    """A path or address up to its query: that is where the suffix of its file is."""
    return re.split(r"[?#]", word)[0] if is_http(word) else split_query(word)[0]


def split_query(word: str) -> tuple[str, str]:
    """An address and its options: `s3://a/b?region=x` gives `s3://a/b` and `?region=x`."""
    if is_http(word):
        return word, ""
    match = _QUERY.search(word)
    return (word[: match.start()], word[match.start() :]) if match else (word, "")


def shown(word: str) -> str:
    """An address without options and credentials, as it is stored and shown.

    Of a web address the query stays, but for what signs it: that changes from day to day, and the
    file does not.
    """
    address = split_query(word)[0]
    if _SECRET_WITH_SLASH.match(address) and not _USER.match(address):
        return _SECRET_WITH_SLASH.sub(r"\1", address)
    if scheme_of(address) in AZURE:
        return _AZURE_SECRET.sub(lambda match: _without_secret(*match.groups()), address)
    address = _USER.sub(r"\1", address)
    return _unsigned(address) if is_http(address) else address


def _unsigned(address: str) -> str:
    plain, mark, query = address.partition("?")
    if not mark:
        return address
    pairs = query.split("&")
    names = [pair.partition("=")[0].lower() for pair in pairs]
    azure = _AZURE_SIGNED if "sig" in names else frozenset()
    left = [
        pair
        for name, pair in zip(names, pairs, strict=True)
        if name not in azure and not SIGNING.fullmatch(name)
    ]
    return f"{plain}?{'&'.join(left)}" if left else plain


def root_of(address: str) -> str:
    """The scheme and the bucket or host of an address, e.g. `s3://bucket`."""
    match = re.match(r"[A-Za-z][\w+.-]*://[^/]*", shown(address))
    return match[0] if match else ""


def _without_secret(scheme: str, user: str, at: str) -> str:
    """Without its secret, the user of an address of Azure stays: a container or an account."""
    return f"{scheme}{user}{at}" if user else scheme


@dataclass(frozen=True)
class FileAccess:
    """Opens stores. It travels to other processes, and opens each store there once.

    Attributes:
        roots: the address that a user gave for a bucket, with its options, by `root_of`.
    """

    roots: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Iterable[str]) -> FileAccess:
        """With the options of all addresses among the words.

        Raises:
            UsageError: a secret with a slash is in one, so that its bucket cannot be told.
        """
        roots = {}
        for word in words:
            if _SECRET_WITH_SLASH.match(word) and not _USER.match(word):
                raise UsageError(
                    f"the credentials in {shown(word)} cannot be told from the path",
                    got="a secret with a slash",
                    fix="Put them into the environment, e.g. AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or write the slash as %2F",
                )
        for word in filter(is_remote, words):
            address, query = split_query(word)
            match = re.match(r"[A-Za-z][\w+.-]*://[^/]*", address)
            if match and (query or "@" in match[0]):
                roots[root_of(word)] = match[0] + query
        return cls(roots)

    def locate(self, address: str) -> tuple[Any, str]:
        """The file system of an address, a `pyarrow.fs.FileSystem`, and the path in it.

        Raises:
            StoreError: the store cannot be opened.
            UsageError: no store has such an address.
            MissingExtraError: the package that opens it is not installed.
        """
        plain, root = shown(address), root_of(address)
        path = address if is_http(address) else path_in_store(plain)
        with store_errors(shown(address)):
            return _file_system(self.roots.get(root, root)), path

    def stamp(self, path: str) -> Stamp:
        """Size and time of a file or object; unknown where it is not told, and of web addresses."""
        if not is_remote(path):
            return stamp_of_file(path)
        if is_http(path):
            return UNKNOWN
        try:
            system, place = self.locate(path)
            with store_errors(shown(path)):
                info = system.get_file_info(place)
            return stamp_of_object(info.size, info.mtime_ns if info.size is not None else None)
        except (OSError, GhostDeployError):
            return UNKNOWN

    def read(self, address: str, most_bytes: int) -> bytes:
        """The content of an object; see `read_stamped`."""
        return self.read_stamped(address, most_bytes)[0]

    def read_stamped(self, address: str, most_bytes: int) -> tuple[bytes, Stamp]:
        """The content of an object, and its size and time.

        Args:
            address: of the object.
            most_bytes: the largest size that is read.

        Raises:
            OSError: as the store says it; EFBIG for a larger object.
            UsageError: see `locate`.
        """
        system, path = self.locate(address)
        with store_errors(shown(address)), system.open_input_file(path) as file:
            size = file.size()
            if size > most_bytes:
                raise OSError(errno.EFBIG, f"{size} bytes, at most {most_bytes} are read", address)
            stamp = UNKNOWN if is_http(address) else stamp_of_stream(size, file.metadata())
            return file.read(), stamp

    def check(self, address: str) -> None:
        """Ask the store for an object's size: raises what the store answers.

        Raises:
            OSError: it refuses, does not answer, or has no such object.
        """
        system, path = self.locate(address)
        with store_errors(shown(address)), system.open_input_file(path) as file:
            file.read(1)


def puts_whole(address: str) -> bool:
    """Whether an object of this store is visible only when it is whole."""
    return scheme_of(address) in _PUT_WHOLE


@functools.lru_cache(maxsize=64)
def _file_system(root: str) -> Any:
    try:
        import pyarrow as pa
        from pyarrow import fs
    except ImportError as error:
        raise MissingExtraError.for_extra("pyarrow", "batch") from error
    address, query = split_query(root)
    scheme = scheme_of(address)
    if scheme in {"gs", "gcs"} and "retry_limit_seconds" not in query:
        query += ("&" if query else "?") + f"retry_limit_seconds={_GCS_WAITS_S}"
    try:
        return fs.FileSystem.from_uri(address + query)[0]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError) as error:
        if scheme in _PUT_WHOLE:
            raise _unusable(root, error) from error
        return _by_fsspec(root, fs.PyFileSystem, fs.FSSpecHandler)
    except OSError as error:
        raise _unusable(root, error) from error


def _by_fsspec(root: str, wrap: Callable[[Any], Any], handle: Callable[[Any], Any]) -> Any:
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError.for_extra("fsspec", "batch") from error
    try:
        return wrap(handle(fsspec.filesystem(scheme_of(root))))
    except ImportError as error:
        raise MissingExtraError(
            f"what opens {scheme_of(root)}:// addresses is not installed",
            got=str(error),
            fix=f"Install what it names beside {install_command('batch')}",
        ) from error
    except ValueError as error:
        raise UsageError(
            f"an address {scheme_of(root)}:// cannot be read",
            got=str(error),
            expected="a path, s3://, gs://, abfs:// or an address that fsspec knows",
            fix="Give one of those",
        ) from error


def _unusable(root: str, error: BaseException) -> StoreError:
    return StoreError(
        f"the store {shown(root)} cannot be opened",
        got=reason_of(error),
        fix="Check the address and the credentials; docs/scale.md says where they are looked for",
    )
