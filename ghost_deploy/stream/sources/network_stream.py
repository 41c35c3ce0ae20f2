"""Streams that are sent over RTMP or UDP, by PyAV."""

from __future__ import annotations

from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.av_stream import AvStreamReader, open_stream, require_pyav
from ghost_deploy.stream.sources.camera_address import split_address
from ghost_deploy.stream.sources.source_labels import scheme_of
from ghost_deploy.stream.sources.source_table import SourceAddress

# FFmpeg analyzes a stream for that many microseconds before it gives the first frame; a key frame
# should be among them.
_OPTIONS = {"analyzeduration": "2000000"}
_OF_SCHEME = {
    "rtmp": {"rtmp_live": "live"},
    "rtmps": {"rtmp_live": "live"},
    # Packets that the reader is too slow for are lost instead of ending the stream.
    "udp": {"overrun_nonfatal": "1", "fifo_size": "50000"},
}


def open_reader(address: SourceAddress, policy: LivePolicy) -> AvStreamReader:
    """See `SourceModule`."""
    scheme = scheme_of(address.target)
    url = address.target if scheme == "udp" else split_address(address.target).url
    options = _OPTIONS | _OF_SCHEME.get(scheme, {})
    container = open_stream(address.label, url, policy, options)
    return AvStreamReader(container, address.label, policy)


def read_by(address: SourceAddress, policy: LivePolicy) -> str:
    """See `SourceModule`."""
    require_pyav()
    return "PyAV"
