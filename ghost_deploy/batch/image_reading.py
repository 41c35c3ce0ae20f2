"""Read the images of a task, from this machine or ahead of time from a store."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghost_deploy.batch.file_access import FileAccess, is_remote, shown
from ghost_deploy.batch.result_rows import key_text
from ghost_deploy.batch.source_stamps import UNKNOWN, Stamp, stamp_of_file
from ghost_deploy.batch.store_answers import is_missing, is_refused, reason_of, store_errors
from ghost_deploy.batch.work_tasks import ArchiveFile
from ghost_deploy.core.closing import Closing
from ghost_deploy.core.errors import GhostDeployError, ImageError, StoreError, UsageError
from ghost_deploy.core.pixel_limit import max_pixels
from ghost_deploy.processing.decode_image import decode_image
from ghost_deploy.processing.decoder_remarks import DecoderRemarks
from ghost_deploy.processing.images import read_image

_AHEAD = 8
"""Objects that are fetched while others are decoded: a store answers after tens of milliseconds."""
_WAITS_S = (1.0, 4.0)
_BYTES_A_PIXEL = 32
_CHUNK = 8 << 20

_Fetched: TypeAlias = tuple[bytes | OSError | GhostDeployError, Stamp]


class FileReader(Closing):
    """Reads images and whole files, and knows when a store has begun to refuse all of them.

    One object that may not be read is a fact about that object. Where nothing can be read any
    more, credentials were revoked or the connection is gone, and the run must stop: else the rest
    of an archive would become rows with errors.

    Args:
        access: opens stores.
        names_remarks: put the name of the file before what decoders print on standard error,
            which libjpeg does not; for processes of ours alone.

    Attributes:
        stamp: of the file that `images` gave last.
    """

    def __init__(self, access: FileAccess, *, names_remarks: bool = False) -> None:
        self._access = access
        self._remarks = DecoderRemarks() if names_remarks else None
        self.stamp = UNKNOWN
        self._readable = ""  # the object that was read last
        self._refused = ""  # one that was refused since
        self._reason = ""

    def images(
        self, files: Sequence[ArchiveFile]
    ) -> Iterator[tuple[ArchiveFile, NDArray[np.uint8] | ImageError]]:
        """Each file with its image, (H, W, 3) uint8 BGR, or the error of reading it."""
        for remote, group in itertools.groupby(files, lambda file: is_remote(file.opened)):
            if remote:
                yield from self._ahead(list(group))
            else:
                for file in group:
                    self.stamp = stamp_of_file(file.opened)
                    yield file, self._decoded(file, None)

    def close(self) -> None:
        """Close what it has opened of its own."""
        if self._remarks is not None:
            self._remarks.close()

    def copy(self, file: ArchiveFile, target: str) -> None:
        """Copy an object to a file of this machine.

        Raises:
            ImageError: it is not there or may not be read.
            OSError: the file cannot be written.
        """
        got: bytes | OSError | GhostDeployError = b""
        try:
            system, path = self._access.locate(file.opened)
            with (
                open(target, "wb") as to,
                store_errors(shown(file.opened)),
                system.open_input_stream(path) as stream,
            ):
                while data := stream.read(_CHUNK):
                    to.write(data)
        except (OSError, GhostDeployError) as error:
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            got = error
        self._noted(file, got)

    def check(self) -> None:
        """Require that the store still gives what it gave before.

        Raises:
            StoreError: since something was refused nothing could be read.
        """
        refused, self._refused = self._refused, ""
        if not refused:
            return
        try:
            if not self._readable:
                raise StoreError(refused, got=self._reason, fix="")
            self._access.check(self._readable)
        except (OSError, StoreError) as error:
            raise StoreError(
                f"{shown(refused)} cannot be read, and neither can others of the store",
                got=self._reason or reason_of(error),
                fix="Check the credentials and the connection, and run the same command again: it "
                "continues with what is not written",
            ) from error

    def _ahead(
        self, files: Sequence[ArchiveFile]
    ) -> Iterator[tuple[ArchiveFile, NDArray[np.uint8] | ImageError]]:
        most = max_pixels() * _BYTES_A_PIXEL
        waiting: deque[tuple[ArchiveFile, Future[_Fetched]]] = deque()
        with ThreadPoolExecutor(_AHEAD) as pool:
            for index in range(len(files) + _AHEAD):
                if index < len(files):
                    file = files[index]
                    waiting.append((file, pool.submit(_fetched, self._access, file.opened, most)))
                if index >= _AHEAD - 1 and waiting:
                    file, future = waiting.popleft()
                    got, self.stamp = future.result()
                    try:
                        yield file, self._decoded(file, self._noted(file, got))
                    except ImageError as error:
                        yield file, error

    def _decoded(self, file: ArchiveFile, data: bytes | None) -> NDArray[np.uint8] | ImageError:
        if self._remarks is None:
            return _decoded(file, data)
        image, said = self._remarks.caught(lambda: _decoded(file, data))
        if said and not isinstance(image, ImageError):  # the reason of an error is in its row
            print(f"{file.source}: {said}", file=sys.stderr, flush=True)
        return image

    def _noted(self, file: ArchiveFile, got: bytes | OSError | GhostDeployError) -> bytes:
        """What was fetched; the error of a file that could not be."""
        if isinstance(got, bytes):
            self._readable, self._refused = file.opened, ""
            return got
        is_of_it = isinstance(got, UsageError) or getattr(got, "errno", None) == errno.EFBIG
        if not is_missing(got) and not is_of_it:
            self._refused, self._reason = file.opened, reason_of(got)
        raise ImageError(
            f"the image {file.source} cannot be read",
            got="no such object" if is_missing(got) else reason_of(got),
            fix="Check the address and its permissions",
        )


def image_of(
    reader: FileReader, value: object, name: object = None
) -> tuple[str, NDArray[np.uint8] | ImageError]:
    """The text and the image of a path, an address or the bytes of a file.

    Args:
        reader: of paths.
        value: the path or bytes.
        name: the path, where the value is bytes; a hash of them where it is None.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        source = f"sha256:{hashlib.sha256(data).hexdigest()}" if name is None else str(name)
        source = key_text(source)
        return source, _decoded(ArchiveFile(source), data)
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        what = f"this is no path and no file: {type(value).__name__}"
        return str(value), ImageError(what, fix="Give paths, or the bytes of image files")
    file = ArchiveFile(key_text(shown(path) if is_remote(path) else path), path)
    ((_, image),) = reader.images([file])
    return file.source, image


def _fetched(access: FileAccess, address: str, most: int) -> _Fetched:
    for wait_s in (*_WAITS_S, None):
        try:
            return access.read_stamped(address, most)
        except GhostDeployError as error:
            return error, UNKNOWN
        except OSError as error:
            if (
                wait_s is None
                or is_missing(error)
                or is_refused(error)
                or error.errno == errno.EFBIG
            ):
                return error, UNKNOWN
            time.sleep(wait_s)
    raise AssertionError


def _decoded(file: ArchiveFile, data: bytes | None) -> NDArray[np.uint8] | ImageError:
    """The image of a file, or of its content."""
    what = f"the image {file.source}"
    try:
        return read_image(file.opened) if data is None else decode_image(data, what)
    except ImageError as error:
        return error
    # A decoder that fails in a way of its own must not end a run over a million images.
    except Exception as error:
        return ImageError(
            f"{what} cannot be decoded",
            got=f"{type(error).__name__}: {error}",
            fix="Check that other programs can open it",
        )
