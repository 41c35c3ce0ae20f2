"""Video files that tests make, of frames that carry their number."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tests.support.numbered_frames import numbered_frame


def needs_ffmpeg() -> None:
    """Skip the test where the `ffmpeg` command, the independent reference, is not installed."""
    if not (shutil.which("ffmpeg") and shutil.which("ffprobe")):
        pytest.skip("no ffmpeg: apt install ffmpeg")


def ffmpeg(*words: object) -> str:
    """Run ffmpeg with its messages silenced; an existing file is replaced."""
    command = ["ffmpeg", "-v", "quiet", "-y", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stdout


def ffmpeg_frames(path: Path, *before: str) -> int:
    """How many frames ffmpeg decodes of a file; `before`: options of the input."""
    words = (*before, "-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-f", "framecrc")
    return sum(not line.startswith("#") for line in ffmpeg(*words, "-").splitlines())


def write_video(
    path: Path,
    count: int = 60,
    *,
    size_hw: tuple[int, int] = (96, 320),
    rate: int = 30,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    options: Iterable[tuple[str, str]] = (),
    container: str | None = None,
) -> Path:
    """Write numbered frames with PyAV.

    Args:
        path: of the file; its suffix gives the container unless `container` does.
        count: of frames; ignored where `times` is given.
        size_hw: of the frames.
        rate: frames a second.
        times: of the frames in units of `time_base`; otherwise they stand at `rate`.
        time_base: of the stream, seconds.
        codec: FFmpeg's name of the encoder.
        options: of the encoder.
        container: FFmpeg's name of the muxer.
    """
    av: Any = pytest.importorskip("av")
    base = time_base or Fraction(1, rate)
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, options=dict(options))
        stream.height, stream.width = size_hw
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = base
        for number, at in enumerate(times if times is not None else range(count)):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, size_hw), format="bgr24")
            frame.pts, frame.time_base = at, base
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def wipe(path: Path, target: Path, numbers: Iterable[int], fill: int = 0) -> Path:
    """Copy a video with the payload of those packets, in their order in the file, wiped out."""
    av: Any = pytest.importorskip("av")
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in numbers:
        at = data.find(packets[number])
        assert at >= 0, "the container splits its packets"
        data[at : at + len(packets[number])] = bytes([fill]) * len(packets[number])
    target.write_bytes(data)
    return target


def halve(path: Path, target: Path) -> Path:
    """Copy the first half of a file."""
    data = path.read_bytes()
    target.write_bytes(data[: len(data) // 2])
    return target


def write_audio_run(path: Path, count: int = 60, packets: int = 5000) -> Path:
    """A video of `count` frames with that many audio packets between the 30th and the 31st."""
    av: Any = pytest.importorskip("av")
    source = write_video(path.with_suffix(".h264.mkv"), count)
    with av.open(str(source)) as given, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(given.streams.video[0])
        audio = output.add_stream("pcm_s16le", rate=8000)
        for number, packet in enumerate(given.demux(video=0)):
            if packet.size == 0:
                continue
            packet.stream = video
            output.mux(packet)
            for tick in range(packets if number == 29 else 0):
                sound = av.Packet(bytes(4))
                sound.pts = sound.dts = 8000 + tick // 20
                sound.time_base, sound.stream = Fraction(1, 8000), audio
                output.mux_one(sound)
    return path
