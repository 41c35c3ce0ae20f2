"""What PyAV needs before its containers, streams and frames can be used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.pixel_limit import check_pixels
from ghost_deploy.stream.sources.reader import lost

if TYPE_CHECKING:
    import av

_OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT
_ATTACHED = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_MOST_FAULTS = 1000
_FIX = "Check that it is a video: ffprobe shows what it holds"
# FFmpeg counts angles counterclockwise.
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}


def open_decoder(stream: av.VideoStream, *, frame_threads: bool) -> Any:
    """The decoder of a stream, of whose frames those with damaged references come too.

    FFmpeg's command gives those; the library leaves them out for H.265 since FFmpeg 7.

    Args:
        stream: of an open container.
        frame_threads: decode several frames at once; an error among the last may hide them.
    """
    decoder = stream.codec_context
    decoder.thread_type = "AUTO" if frame_threads else "SLICE"
    if decoder.name == "hevc":
        decoder.flags |= _OUTPUT_CORRUPT
    return decoder


def decode(decoder: Any, packet: av.Packet[Any] | None) -> list[av.VideoFrame | None]:
    """The frames that a packet completes, None for an error.

    Args:
        decoder: of the stream.
        packet: None at the end.
    """
    import av

    try:
        frames: list[av.VideoFrame | None] = decoder.decode(packet)
    except av.error.EOFError:
        return []
    except (av.FFmpegError, MemoryError):
        return [None]
    return frames


def to_bgr(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The image of a frame, (H, W, 3) uint8 BGR, turned as its metadata say; as OpenCV gives it.

    Raises:
        ImageError: FFmpeg cannot convert it, or it is larger than the limit.
    """
    import av

    check_pixels(frame.width, frame.height, "a frame of the video")
    try:
        image = frame.to_ndarray(format="bgr24", interpolation="BICUBIC")
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise ImageError(
            "a frame cannot be converted",
            got=f"{frame.width} x {frame.height} pixels, {frame.format.name}",
            fix="It is left out",
        ) from error
    turn = _TURNS.get(getattr(frame, "rotation", 0) % 360)
    return np.asarray(image if turn is None else cv2.rotate(image, turn), np.uint8)


def _lenient(av: Any) -> dict[str, Any]:
    """The argument with which names of tracks that are no text are no error: PyAV 19 has none."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def open_container(
    label: str,
    target: str,
    *,
    options: dict[str, str] | None = None,
    timeout_s: tuple[float, float] | None = None,
) -> av.container.InputContainer:
    """Open what PyAV reads.

    Args:
        label: of the source, without credentials.
        target: path or address.
        options: of FFmpeg.
        timeout_s: longest wait to open it and for a packet, seconds.

    Raises:
        InputError: it does not open.
    """
    import av

    try:
        opened: av.container.InputContainer = av.open(
            target, options=options or {}, timeout=timeout_s, **_lenient(av)
        )
        return opened
    # Not chained: FFmpeg's messages repeat the address.
    except (av.FFmpegError, OSError, ValueError) as error:
        raise lost(label, reason_of(error), _FIX) from None


def video_of(container: av.container.InputContainer, label: str) -> av.VideoStream:
    """The first video of a container that is no cover image; closes it if there is none.

    Raises:
        InputError: there is none, or none that can be decoded.
    """
    for stream in container.streams.video:
        disposition = stream.disposition.value  # an enumeration of its own kind in PyAV 14
        if not disposition & _ATTACHED and stream.codec_context is not None:
            return stream
    container.close()
    raise lost(label, "it holds no video that can be decoded", _FIX)


def reason_of(error: Exception) -> str:
    """Why PyAV failed, without the address."""
    import av

    if isinstance(error, av.error.HTTPUnauthorizedError):
        return "user or password is refused (status 401)"
    if isinstance(error, av.error.ExitError):
        return "it does not answer"
    return str(getattr(error, "strerror", None) or type(error).__name__)


def demux(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.Packet[Any]]:
    """The packets of a video; damaged parts of the container are passed over.

    Raises:
        av.FFmpegError: the connection is lost.
    """
    return _past_damage(container, (stream,))


def demux_all(container: av.container.InputContainer) -> Iterator[av.Packet[Any]]:
    """The packets of everything that a container holds; otherwise as `demux`."""
    return _past_damage(container, ())


def _past_damage(
    container: av.container.InputContainer, streams: tuple[av.VideoStream, ...]
) -> Iterator[av.Packet[Any]]:
    import av

    for _ in range(_MOST_FAULTS):
        try:
            for packet in container.demux(*streams):
                if packet.size:
                    yield packet
            return
        except av.InvalidDataError:
            continue
