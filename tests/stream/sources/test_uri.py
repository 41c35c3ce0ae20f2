from __future__ import annotations

import os
from pathlib import Path

import pytest

from ghost_deploy.core.errors import UsageError
from ghost_deploy.stream.sources.masking import mask
from ghost_deploy.stream.sources.uri import parse_source, parse_sources

PIPELINE = "videotestsrc ! video/x-raw,format=BGR ! appsink drop=true"


@pytest.mark.parametrize(
    ("word", "kind", "is_live"),
    [
        ("0", "camera", True),
        ("/dev/video7", "camera", True),
        ("rtsp://host/stream", "rtsp", True),
        ("RTSPS://host/stream", "rtsp", True),
        ("http://host/video", "mjpeg", True),
        ("https://host/video.mp4", "mjpeg", True),
        ("csi://1", "csi", True),
        (PIPELINE, "gstreamer", True),
        ("-", "stdin", True),
        ("images/*.png", "images", False),
        ("absent.png", "images", False),
        ("videos/*.mp4", "images", False),
    ],
)
def test_what_a_word_means(word: str, kind: str, is_live: bool) -> None:
    source = parse_source(word)
    assert (source.kind, source.target, source.is_live) == (kind, word, is_live)


def test_a_file_comes_before_any_other_meaning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("0", "@odd.txt", "clip.MP4"):
        Path(name).write_bytes(b"x")
    assert parse_source("0").kind == "images"
    assert [source.kind for source in parse_sources(["clip.MP4"])] == ["video"]
    assert parse_sources(["./@odd.txt"])[0].target == "x"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("absent.mp4", "no video"),
        ("ftp://user:secret@host/x", "ftp:// address"),
        ("csi://front", "named by its number"),
        ("csi://0 ! fakesink", "appsink"),
        ("videotestsrc ! fakesink", "appsink"),
        ("rtspsrc location=rtsp://user:secret@h ! fakesink", "appsink"),
    ],
)
def test_what_cannot_be_a_source(word: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_source(word)
    assert "secret" not in str(caught.value)


def test_a_list_stands_for_its_lines(tmp_path: Path) -> None:
    for name in ("cameras.streams", "cameras.txt", "cameras"):
        path = tmp_path / name
        path.write_text("# the yard\n rtsp://a:b#c@host/1 # the gate \n\n0\t#USB # 2\n")
        word = str(path) if path.suffix else f"@{path}"
        sources = parse_sources([word, "-"])
        assert [source.kind for source in sources] == ["rtsp", "camera", "stdin"]
        assert [source.target for source in sources] == ["rtsp://a:b#c@host/1", "0", "-"]


def test_a_file_whose_name_looks_like_a_comment(tmp_path: Path) -> None:
    clip = tmp_path / "clip #1.mp4"
    clip.write_bytes(b"x")
    (tmp_path / "list.txt").write_text(f"{clip}\n{clip} # the yard\n")
    sources = parse_sources([str(tmp_path / "list.txt")])
    assert [source.target for source in sources] == [str(clip)] * 2


def test_lists_that_cannot_be_used(tmp_path: Path) -> None:
    empty, nested, binary = (tmp_path / name for name in ("empty", "nested", "binary"))
    empty.write_text("\n# nothing\n")
    nested.write_text("@empty\n")
    binary.write_bytes(b"\xff\xfe")
    for path, message in ((empty, "names no"), (nested, "another list"), (binary, "cannot read")):
        with pytest.raises(UsageError, match=message):
            parse_sources([f"@{path}"])
    for word in ("@absent.txt", "@/dev/zero"):
        with pytest.raises(UsageError, match="cannot read"):
            parse_sources([word])


@pytest.mark.parametrize(
    "written",
    [
        b"\xef\xbb\xbf%s\r\n",  # as editors on Windows do
        b"%s\n%s\n",
        b"%s\r# a comment\r",
    ],
)
@pytest.mark.parametrize("name", [b"a.mp4", b"\xff\xfe.mp4", "a\u2028b\x0cc.mp4".encode()])
def test_lists_as_other_programs_write_them(tmp_path: Path, written: bytes, name: bytes) -> None:
    clip = os.path.join(os.fsencode(tmp_path), name)
    Path(os.fsdecode(clip)).write_bytes(b"x")
    (tmp_path / "list.txt").write_bytes(written.replace(b"%s", clip))
    sources = parse_sources([str(tmp_path / "list.txt")])
    assert {source.target for source in sources} == {os.fsdecode(clip)}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://host:554/stream?channel=1", "rtsp://host:554/stream?channel=1"),
        ("rtsp://admin:secret@host/1", "rtsp://***@host/1"),
        ("rtsp://admin:sec@ret@host/1", "rtsp://***@host/1"),
        ("rtsp://admin:sec/ret@host/1", "rtsp://***@host/1"),
        ("rtsp://secret@host/1", "rtsp://***@host/1"),
        ("rtsp://secret@***@host/1", "rtsp://***@host/1"),
        ("http://h/v?user=secret&pwd=secret&x=1", "http://h/v?user=***&pwd=***&x=1"),
        ("http://h/v?access_token=secret", "http://h/v?access_token=***"),
        ("http://h/v?API-Key=secret#top", "http://h/v?API-Key=***#top"),
        (
            "rtsp://h/user=secret&password=secret&channel=1",
            "rtsp://h/user=***&password=***&channel=1",
        ),
        (
            'rtspsrc location=rtsp://a:secret@h/1 user-id=secret user-pw="se cret" ! appsink',
            "rtspsrc location=rtsp://***@h/1 user-id=*** user-pw=*** ! appsink",
        ),
        ("at (rtsp://h/?token=secret)", "at (rtsp://h/?token=***)"),
        ("[rtsp://h/?token=sec)ret], then", "[rtsp://h/?token=***], then"),
        ("cannot open (http://h/?key=secret), again", "cannot open (http://h/?key=***), again"),
        ("it is at <http://a:secret@h/?pwd=secret>.", "it is at <http://***@h/?pwd=***>."),
        ("on ssh://a:secret@h", "on ssh://***@h"),
        ("on SSH://a:sec@ret@h/f", "on SSH://***@h/f"),
        ("on Ssh://a:secret@h/f", "on Ssh://***@h/f"),
        ("on ssh://secret/@h", "on ssh://***@h"),
        ("on ssh://a@b,rtsp://c:secret@h", "on ssh://***@h"),
        ("on xssh://secret@h", "on xssh://***@h"),
    ],
)
def test_credentials_are_hidden(text: str, shown: str) -> None:
    assert mask(text) == shown
    if "://" in text and " " not in text:
        source = parse_source(text)
        assert source.label == shown
        assert "secret" not in repr(source)
        assert source.target == text


@pytest.mark.parametrize(
    "text",
    [
        "expected: ssh://[user@]host[:port][/folder]",
        "Add --on ssh://user@board",
        "e.g. ssh://pi@raspberrypi.local, or SSH://pi@[::1]:22/a",
        "(Ssh://pi@h) and 'ssh://pi@h'",
        "ssh://host",
    ],
)
def test_the_user_of_an_ssh_address_is_no_secret(text: str) -> None:
    assert mask(text) == text


@pytest.mark.parametrize("password", ["se cret", 'se"cret', "se\ncret", "'secret", "s:e?cr#et"])
def test_odd_passwords_are_hidden_in_an_address(password: str) -> None:
    assert parse_source(f"rtsp://user:{password}@host/1").label == "rtsp://***@host/1"
