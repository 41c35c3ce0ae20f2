"""HLS playlists and other videos over HTTP, by PyAV."""

from __future__ import annotations

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.av_stream import (
    AvStreamReader,
    open_stream,
    require_pyav,
    timeouts,
)
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress
from ghost_deploy.stream.sources.video_av import AvVideoReader


def open_reader(address: SourceAddress, policy: LivePolicy) -> Reader:
    """See `SourceModule`. What has a duration is a file: every frame of it comes."""
    url = split_address(address.target).url
    container = open_stream(address.label, url, policy)
    if container.duration is None:
        paced = "hls" in container.format.name
        return AvStreamReader(container, address.label, policy, paced=paced)
    return AvVideoReader(address, url, timeouts(policy), container=container)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    require_pyav()
    return "PyAV"
