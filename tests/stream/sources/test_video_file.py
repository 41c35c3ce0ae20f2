"""Videos: all frames in order, at their times; those that do not decode, or are missing, counted.

The reference is the `ffmpeg` command.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghost_deploy.core.errors import ImageTooLargeError, InputError
from ghost_deploy.core.pixel_limit import VARIABLE
from ghost_deploy.stream.policy import LivePolicy
from ghost_deploy.stream.sources.reader import Reader
from ghost_deploy.stream.sources.source_table import SourceAddress
from ghost_deploy.stream.sources.video_cv import CvVideoReader
from ghost_deploy.stream.sources.video_file import open_reader, read_by
from tests.support.assets import SHARED
from tests.support.numbered_frames import read_number
from tests.support.videos import (
    ffmpeg,
    ffmpeg_frames,
    halve,
    needs_ffmpeg,
    wipe,
    write_audio_run,
    write_video,
)

av: Any = pytest.importorskip("av")

CASES = SHARED / "cases"
B_FRAMES = {"bf": "2", "g": "30", "preset": "fast"}.items()
X265 = {"x265-params": "log-level=none:bframes=2"}.items()


def address(path: Path) -> SourceAddress:
    return SourceAddress("video", str(path), str(path))


class Seen:
    """What a reader gave: the position of each frame, its number, and whether it was broken."""

    def __init__(self, reader: Reader) -> None:
        self.good: list[float] = []
        self.broken: list[float | None] = []
        self.numbers: list[int | None] = []
        self.shapes: set[tuple[int, ...]] = set()
        while reader.grab() is not None:
            if reader.is_broken:
                self.broken.append(reader.position_s)
                continue
            image = reader.load()()
            assert reader.position_s is not None
            self.good.append(reader.position_s)
            self.numbers.append(read_number(image))
            self.shapes.add(image.shape)
        self.missing = reader.missing
        reader.close()


def read(path: Path) -> Seen:
    return Seen(open_reader(address(path), LivePolicy()))


def test_nothing_and_no_video(tmp_path: Path) -> None:
    for name, data in (("empty.mp4", b""), ("text.mp4", b"hello" * 100)):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match="cannot read"):
            open_reader(address(tmp_path / name), LivePolicy())
    with pytest.raises(InputError, match="No such file"):
        open_reader(address(tmp_path / "absent.mp4"), LivePolicy())
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.rate = 8000
        output.mux(stream.encode(frame))
    with pytest.raises(InputError, match="no video"):
        open_reader(address(sound), LivePolicy())


def test_a_video_larger_than_the_limit_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", 1)
    monkeypatch.setenv(VARIABLE, str(96 * 320))
    open_reader(address(path), LivePolicy()).close()
    monkeypatch.setenv(VARIABLE, str(96 * 320 - 1))
    for reader in (
        lambda: open_reader(address(path), LivePolicy()),
        lambda: CvVideoReader(address(path), str(path)),
    ):
        with pytest.raises(ImageTooLargeError, match="larger than the limit"):
            reader()


def wiped(name: str, *numbers: int, fill: int = 0, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: wipe(
        write_video(folder / name, **how), folder / f"wiped-{name}", numbers, fill
    )


def half(name: str, **how: Any) -> Callable[[Path], Path]:
    return lambda folder: halve(write_video(folder / name, **how), folder / f"half-{name}")


def half_mp4(folder: Path) -> Path:
    """The index first, as cameras and the web have it."""
    whole = write_video(folder / "whole.mp4", options=B_FRAMES)
    ffmpeg("-i", whole, "-c", "copy", "-movflags", "faststart", folder / "fast.mp4")
    return halve(folder / "fast.mp4", folder / "half.mp4")


def made_and_wiped(
    suffix: str, *numbers: int, codec: str, words: tuple[str, ...] = ()
) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        whole = write_video(folder / "whole.mkv", options={"bf": "0"}.items())
        path = folder / f"made{suffix}"
        ffmpeg("-i", whole, "-c:v", codec, *words, path)
        return wipe(path, folder / f"wiped{suffix}", numbers)

    return make


def audio_run(folder: Path) -> Path:
    return write_audio_run(folder / "run.mkv")


def begun_within(folder: Path) -> Path:
    whole = write_video(folder / "whole.ts", options=B_FRAMES)
    (folder / "begun.ts").write_bytes(whole.read_bytes()[188 * 20 :])
    return folder / "begun.ts"


def case(name: str) -> Callable[[Path], Path]:
    def find(_: Path) -> Path:
        if not (CASES / name).is_file():
            pytest.skip(f"no {CASES / name}")
        return CASES / name

    return find


# What makes it, how many of its frames are broken, None where only ffmpeg knows, and whether the
# end is missing.
DAMAGED: dict[str, tuple[Callable[[Path], Path], int | None, bool]] = {
    "H.264 in MP4": (wiped("a.mp4", 20, options=B_FRAMES), 1, False),
    "H.264 in MP4, ones": (wiped("a.mp4", 20, 21, fill=255, options=B_FRAMES), 2, False),
    "H.264 in MKV": (wiped("a.mkv", 20, 40, options=B_FRAMES), 2, False),
    "H.264 in AVI": (wiped("a.avi", 20, options={"bf": "0"}.items()), 1, False),
    "H.264 with B-frames in AVI": (wiped("a.avi", 20, options=B_FRAMES), 1, False),
    "the first frame": (wiped("a.mp4", 0, options={"g": "10", "bf": "0"}.items()), None, False),
    "the last frame": (wiped("a.mp4", 59, options={"bf": "0"}.items()), 1, False),
    "a late one of many": (wiped("a.mkv", 55, options={"bf": "3"}.items()), 1, False),
    "H.265 in MP4": (wiped("a.mp4", 20, codec="libx265", options=X265), 1, False),
    "H.265 in MKV, ones": (wiped("a.mkv", 30, fill=255, codec="libx265", options=X265), 1, False),
    "MPEG-4 in AVI": (wiped("a.avi", 20, fill=255, codec="mpeg4"), 1, False),
    "Motion JPEG in AVI": (wiped("a.avi", 0, 20, 59, codec="mjpeg"), 3, False),
    "ProRes, also the last": (made_and_wiped(".mov", 5, 30, 59, codec="prores_ks"), 3, False),
    "VP8, also the last": (made_and_wiped(".webm", 30, 59, codec="libvpx"), 2, False),
    "AV1, the last": (made_and_wiped(".mp4", 59, codec="libsvtav1"), 1, False),
    "the last in FLV": (made_and_wiped(".flv", 59, codec="libx264"), 1, False),
    "the last, interlaced": (
        made_and_wiped(".mp4", 59, codec="libx264", words=("-flags", "+ildct+ilme")),
        1,
        False,
    ),
    "half an MP4": (half_mp4, None, True),
    "half an MKV": (half("a.mkv", options=B_FRAMES), None, True),
    "half an AVI": (half("a.avi", codec="mjpeg"), None, True),
    "audio between frames": (audio_run, 0, False),
    "begun within": (begun_within, None, False),
    "a wiped packet": (case("video_wiped_packet.avi"), 1, False),
    "a half file": (case("video_half.mp4"), 1, True),
}


@pytest.mark.parametrize(("make", "broken", "missing"), DAMAGED.values(), ids=DAMAGED)
def test_frames_of_damaged_videos_are_those_of_ffmpeg(
    make: Callable[[Path], Path],
    broken: int | None,
    missing: bool,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    needs_ffmpeg()
    if "interlaced" in request.node.name and int(version("av").split(".")[0]) < 18:
        pytest.skip("PyAV 17 reports both fields of a frame")
    path = make(tmp_path)
    seen = read(path)
    assert len(seen.good) == ffmpeg_frames(path)
    assert seen.good == sorted(set(seen.good)), "frames go forward"
    assert broken is None or len(seen.broken) == broken
    assert (seen.missing > 20) == missing
    if missing or broken is not None:
        assert len(seen.good) + len(seen.broken) + seen.missing == pytest.approx(60, abs=missing)
    if not missing and broken is not None:
        positions = sorted([*seen.good, *(at for at in seen.broken if at is not None)])
        rate = 59 / (positions[-1] - positions[0])
        assert positions == pytest.approx([positions[0] + n / rate for n in range(60)], abs=2e-3)


def trimmed(folder: Path) -> Path:
    """An edit list leaves the beginning out."""
    whole = write_video(folder / "whole.mp4", 90, options=B_FRAMES)
    ffmpeg("-ss", "1.2", "-i", whole, "-c", "copy", folder / "trimmed.mp4")
    return folder / "trimmed.mp4"


def made_by(suffix: str, *options: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        whole = write_video(folder / "whole.mkv", options={"bf": "0"}.items())
        ffmpeg("-i", whole, *options, folder / f"made{suffix}")
        return folder / f"made{suffix}"

    return make


def with_a_cover(folder: Path) -> Path:
    """The cover image is the first stream."""
    video = write_video(folder / "video.mkv", 20, codec="libx264")
    ffmpeg("-i", video, "-frames:v", "1", folder / "cover.png")
    words = ("-i", folder / "cover.png", "-i", video, "-map", "0", "-map", "1", "-c", "copy")
    ffmpeg(*words, "-disposition:v:0", "attached_pic", folder / "covered.mp4")
    return folder / "covered.mp4"


INTERLACED = ("-c:v", "libx264", "-flags", "+ildct+ilme", "-x264opts", "tff=1:bframes=2")
WHOLE = {
    "MP4": made_by(".mp4", "-c:v", "libx264", "-bf", "3"),
    "MKV": made_by(".mkv", "-c:v", "libx264", "-bf", "3"),
    "trimmed": trimmed,
    "a cover": with_a_cover,
    "interlaced": made_by(".mp4", *INTERLACED),
    "interlaced MPEG-2": made_by(".mpg", "-c:v", "mpeg2video", "-flags", "+ildct+ilme"),
    "VP8 with hidden frames": made_by(".webm", "-c:v", "libvpx", "-auto-alt-ref", "1"),
    "VP9 with hidden frames": made_by(".webm", "-c:v", "libvpx-vp9", "-auto-alt-ref", "1"),
    "MPEG-4 with B-frames": made_by(".avi", "-c:v", "mpeg4", "-bf", "2"),
    "FLV": made_by(".flv", "-c:v", "flv1"),
    "ASF": made_by(".asf", "-c:v", "msmpeg4"),
    "3GP": made_by(".3gp", "-c:v", "h263", "-s", "352x288"),
    "M2TS": made_by(".m2ts", "-c:v", "libx264"),
    "VOB": made_by(".vob", "-c:v", "mpeg2video"),
    "GIF": made_by(".gif", "-r", "10"),
    "bare H.264": made_by(".h264", "-c:v", "libx264", "-bf", "2"),
    "in fragments": made_by(".mp4", "-c:v", "libx264", "-movflags", "frag_keyframe+empty_moov"),
    "a variable rate": case("video_variable_rate.mp4"),
}


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(make, id=name, marks=[pytest.mark.slow] * name.startswith("VP"))
        for name, make in WHOLE.items()
    ],
)
def test_nothing_of_a_whole_video_is_lost(make: Callable[[Path], Path], tmp_path: Path) -> None:
    needs_ffmpeg()
    path = make(tmp_path)
    seen = read(path)
    cover = "covered" in path.name  # ffmpeg's first video
    assert len(seen.good) == (20 if cover else ffmpeg_frames(path)) > 0
    assert (seen.broken, seen.missing) == ([], 0)
    assert seen.good == sorted(set(seen.good))


TIMES = [0, 33, 67, 100, 1000, 1333, 1350, 5000]


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
@pytest.mark.parametrize("first", [0, 500])
def test_frames_stand_at_the_times_of_the_container(
    suffix: str, first: int, tmp_path: Path
) -> None:
    times = [first + at for at in TIMES]
    path = write_video(tmp_path / f"a{suffix}", times=times, time_base=Fraction(1, 1000))
    reader = open_reader(address(path), LivePolicy())
    assert reader.time_base is not None
    assert (Fraction(1, 1000) / reader.time_base).denominator == 1
    seen = Seen(reader)
    assert seen.good == pytest.approx([at / 1000 for at in times], abs=1e-9)
    assert seen.numbers == list(range(len(times)))


def test_times_of_a_transport_stream_begin_with_its_first_frame(tmp_path: Path) -> None:
    seen = read(write_video(tmp_path / "a.ts", 20, options=B_FRAMES))
    assert seen.good == pytest.approx([n / 30 for n in range(20)], abs=1e-4)


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_images_are_those_of_opencv(angle: int, tmp_path: Path) -> None:
    needs_ffmpeg()
    plain, path = write_video(tmp_path / "a.mp4", 5), tmp_path / "turned.mp4"
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={angle}", path)
    ours, theirs = open_reader(address(path), LivePolicy()), CvVideoReader(address(path), str(path))
    for _ in range(5):
        assert ours.grab() is not None
        assert theirs.grab() is not None
        assert np.array_equal(ours.load()(), theirs.load()())
    for reader in (ours, theirs):
        assert reader.grab() is None
        reader.close()


WITHOUT_PYAV = {
    "H.264 in MP4": (wiped("a.mp4", 20, options=B_FRAMES), 59, 1),
    "H.264 in MKV": (wiped("a.mkv", 20, 40, options=B_FRAMES), 58, 2),
    "Motion JPEG in AVI": (wiped("a.avi", 0, 20, 59, codec="mjpeg"), 57, 3),
    "half an MKV": (half("a.mkv", options={"bf": "0"}.items()), 30, 30),
    "audio between frames": (audio_run, 60, 0),
    "whole": (lambda folder: write_video(folder / "a.mp4", options=B_FRAMES), 60, 0),
    "FLV, which begins late": (
        lambda folder: write_video(folder / "a.flv", options=B_FRAMES),
        60,
        0,
    ),
    "a variable rate": (case("video_variable_rate.mp4"), 60, 0),
}


@pytest.mark.parametrize(("make", "good", "lost"), WITHOUT_PYAV.values(), ids=WITHOUT_PYAV)
def test_without_pyav(
    make: Callable[[Path], Path], good: int, lost: int, tmp_path: Path, monkeypatch: Any
) -> None:
    path = make(tmp_path)
    monkeypatch.setitem(sys.modules, "av", None)
    reader = open_reader(address(path), LivePolicy())
    assert isinstance(reader, CvVideoReader)
    assert "PyAV" in read_by(address(path), LivePolicy())
    seen = Seen(reader)
    assert len(seen.good) == pytest.approx(good, abs=10 if lost == 30 else 0)
    assert len(seen.good) + len(seen.broken) + seen.missing == pytest.approx(60, abs=lost == 30)
    assert seen.good == sorted(set(seen.good))


def joined(folder: Path) -> Path:
    """Two recordings in a row, as by `cat`: times begin again."""
    once = write_video(folder / "once.ts", 30, options=B_FRAMES)
    (folder / "twice.ts").write_bytes(2 * once.read_bytes())
    return folder / "twice.ts"


def test_joined_recordings_lose_nothing_and_go_on_in_time(tmp_path: Path) -> None:
    seen = read(joined(tmp_path))
    assert seen.numbers == [*range(30), *range(30)]
    assert (seen.broken, seen.missing) == ([], 0)
    assert seen.good == pytest.approx([n / 30 for n in range(60)], abs=2e-3)


@pytest.mark.parametrize("lost", [1, 7])
def test_frames_in_a_hole_of_a_transport_stream_are_missing(lost: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", options=B_FRAMES)
    with av.open(str(path)) as container:
        at = [packet.pos for packet in container.demux(video=0) if packet.size]
    data = path.read_bytes()
    path.write_bytes(data[: at[20]] + data[at[20 + lost] :])
    seen = read(path)
    assert len(seen.good) + len(seen.broken) + seen.missing == 60
    assert seen.missing >= lost > 60 - len(seen.good) - lost - 2


def test_a_pause_of_a_transport_stream_is_no_hole(tmp_path: Path) -> None:
    times = [n + 900 * (n >= 30) for n in range(60)]
    seen = read(write_video(tmp_path / "a.ts", times=times))
    assert (len(seen.good), seen.broken, seen.missing) == (60, [], 0)


SOUND = {"in MKV": ".mkv", "in FLV": ".flv"}


@pytest.mark.parametrize("suffix", SOUND.values(), ids=SOUND)
@pytest.mark.parametrize("sound_s", [2, 6])
def test_the_end_of_a_video_with_sound(suffix: str, sound_s: int, tmp_path: Path) -> None:
    """The header has the duration of the whole, which the sound may exceed."""
    needs_ffmpeg()
    video, path = write_video(tmp_path / "video.mkv", options=B_FRAMES), tmp_path / f"a{suffix}"
    sound = ("-f", "lavfi", "-i", f"sine=d={sound_s}:r=44100", "-c:a", "aac")
    ffmpeg("-i", video, *sound, "-c:v", "copy", path)
    path.write_bytes(path.read_bytes().replace(b"DURATION", b"_URATION"))
    seen = read(path)
    assert (len(seen.good), seen.broken, seen.missing) == (60, [], 0)
    half = read(halve(path, tmp_path / f"half{suffix}"))
    assert half.missing > 20 or (len(half.good) == 60 and sound_s > 2)


def test_half_a_video_in_fragments(tmp_path: Path) -> None:
    needs_ffmpeg()
    video = write_video(tmp_path / "video.mkv", options={"bf": "0", "g": "10"}.items())
    words = ("-movflags", "frag_keyframe+empty_moov+default_base_moof+global_sidx")
    ffmpeg("-i", video, "-c", "copy", *words, tmp_path / "whole.mp4")
    assert read(tmp_path / "whole.mp4").missing == 0
    half = read(halve(tmp_path / "whole.mp4", tmp_path / "half.mp4"))
    assert len(half.good) + len(half.broken) + half.missing == pytest.approx(60, abs=2)
