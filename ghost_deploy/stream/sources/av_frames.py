"""What PyAV's streams and frames need before they can be used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ghost_deploy.core.errors import ImageError
from ghost_deploy.core.pixel_limit import check_pixels

if TYPE_CHECKING:
    import av

_OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT
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
