"""Videos over HTTP whose index is at their end, from servers that give no parts of a file."""

from __future__ import annotations

import contextlib
import http.client
import time
from typing import IO, Any

from ghost_deploy.core.scratch import scratch_folder
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.av_stream import require_pyav
from ghost_deploy.stream.sources.http_client import cannot_read
from ghost_deploy.stream.sources.reader import lost
from ghost_deploy.stream.sources.source_table import SourceAddress
from ghost_deploy.stream.sources.video_av import AvVideoReader

_CHUNK = 1 << 20
_FIX = "Download it and give the file, or use a server that answers requests for parts (Range)"


class DownloadedVideoReader(AvVideoReader):
    """A video that is downloaded into a temporary file first, within `policy.open_timeout_s`.

    Args:
        answer: of the server, an `http.client.HTTPResponse`.
        address: of the video.
        policy: with the timeouts.

    Raises:
        InputError: it takes longer, the connection is lost, or the disk is full.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, answer: Any, address: SourceAddress, policy: LivePolicy) -> None:
        require_pyav()
        with contextlib.ExitStack() as stack:
            path = stack.enter_context(scratch_folder()) / "video"
            file = stack.enter_context(path.open("w+b"))
            _download(answer, file, address.label, policy.open_timeout_s)
            super().__init__(address, str(path))
            self._scratch = stack.pop_all()

    def close(self) -> None:
        super().close()
        self._scratch.close()


def _download(answer: Any, file: IO[bytes], label: str, timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    try:
        while data := answer.read(_CHUNK):
            file.write(data)
            if time.monotonic() > end_s:
                raise lost(label, f"it takes longer than {timeout_s:g} s to download", _FIX)
        file.flush()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise cannot_read(label, error) from error
