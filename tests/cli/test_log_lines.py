from __future__ import annotations

import io
import json
import logging
import os
import re
from pathlib import Path

import pytest

from ghost_deploy.cli.console import Console
from ghost_deploy.cli.log_lines import LEVELS, Level, LogLines
from ghost_deploy.cli.main import main
from ghost_deploy.core.errors import InputError, UsageError
from tests.cli.test_live import asked, lines, start  # noqa: F401
from tests.support.camera_servers import MjpegCamera
from tests.support.videos import write_video

pytestmark = pytest.mark.usefixtures("asked")

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SECRETS = ("hunter2!x", "tok-en-value", "s3cr3t-web-token", "q-u-e-r-y")
HOSTILE = (
    "cannot read rtsp://admin:hunter2!x@host/1",
    "rtsp://host/1?token=tok-en-value&a=1",
    "pipeline \"rtspsrc user-pw='hunter2!x'\"",
    'location="http://h/?password=q-u-e-r-y" key="tok-en-value"',
    "the token s3cr3t-web-token was refused",
)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of 12 frames."""
    return write_video(tmp_path / "clip.avi", 12, codec="mjpeg", size_hw=(96, 320))


def written(*texts: str, as_json: bool, least: Level = "info") -> list[str]:
    stream = io.StringIO()
    log = LogLines(stream, least, as_json=as_json, secrets=["s3cr3t-web-token"])
    for text in texts:
        log.write("info", text, {"source": text, "count": 3})
    return stream.getvalue().splitlines()


def test_an_empty_message_has_its_time_and_level() -> None:
    (line,) = written("", as_json=False)
    stamp, level = line.split()
    assert STAMP.fullmatch(stamp)
    assert level == "INFO"
    assert json.loads(written("", as_json=True)[0])["message"] == ""


@pytest.mark.parametrize("least", LEVELS)
def test_lower_levels_are_left_out(least: Level) -> None:
    stream = io.StringIO()
    log = LogLines(stream, least, as_json=True)
    for level in LEVELS:
        log.write(level, "x")
    shown = [json.loads(line)["level"] for line in stream.getvalue().splitlines()]
    assert shown == list(LEVELS[LEVELS.index(least) :])


@pytest.mark.parametrize("as_json", [False, True])
def test_no_line_holds_a_secret(as_json: bool) -> None:
    found = written(*HOSTILE, as_json=as_json)
    assert len(found) == len(HOSTILE)
    assert [(secret, line) for line in found for secret in SECRETS if secret in line] == []
    assert all("***" in line for line in found)


def test_control_characters_make_no_line_of_their_own_in_json() -> None:
    (line,) = written("a\nb\x1b[31m\u2028é", as_json=True)
    assert json.loads(line)["message"] == "a\nb\x1b[31m\u2028é"
    assert line.isascii()
    assert "\x1b" not in "".join(written("a\x1b[31m", as_json=False))


@pytest.mark.parametrize("as_json", [False, True])
def test_errors_and_tracebacks(as_json: bool) -> None:
    stream = io.StringIO()
    console = Console(io.StringIO(), stream)
    console.log = LogLines(stream, as_json=as_json, secrets=["hunter2!x"])
    try:
        raise UsageError("no rtsp://a:hunter2!x@b/", got=3, fix="Name another")
    except UsageError as error:
        console.traceback()
        console.error(error)
    console.unexpected(KeyError("hunter2!x"))
    text = stream.getvalue()
    assert "hunter2!x" not in text
    if not as_json:
        assert "ERROR   no rtsp://***@b/\n  got: 3\n  next: Name another\n" in text
        return
    rows = [json.loads(line) for line in text.splitlines()]
    assert "Traceback" in rows[0]["traceback"]
    assert (rows[1]["got"], rows[1]["next"]) == ("3", "Name another")
    assert "expected" not in rows[1]
    assert rows[2]["message"].startswith("unexpected KeyError")


def test_what_packages_log_becomes_lines_in_the_block_alone() -> None:
    stream = io.StringIO()
    log, package = LogLines(stream, as_json=True), logging.getLogger("a.package")
    with log.of_packages():
        package.info("no")
        package.warning("slow %s", "rtsp://a:hunter2!x@b/")
        try:
            raise InputError("gone", fix="Look")
        except InputError:
            package.exception("failed")
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(row["level"], row["message"]) for row in rows] == [
        ("warning", "a.package: slow rtsp://***@b/"),
        ("error", f"a.package: failed: InputError: {InputError('gone', fix='Look')}"),
    ]
    assert not any(
        type(each).__module__.startswith("ghost_deploy") for each in logging.getLogger().handlers
    )


Run = pytest.CaptureFixture[str]


def infer(*words: object) -> int:
    return main(["infer", "b", *map(str, words)])


def test_a_run_in_json_prints_nothing_else(
    clip: Path,
    tmp_path: Path,
    capsys: Run,
) -> None:
    words = ["--log-json", "--log-level", "debug", "--jsonl", "-"]
    assert infer(clip, tmp_path / "none.mp4", *words) == 2
    rows = lines(capsys.readouterr().err)
    assert infer(clip, *words) == 0
    rows += lines(capsys.readouterr().err)
    assert {"time", "level", "message"} <= set.intersection(*map(set, rows))
    assert all(STAMP.fullmatch(row["time"]) for row in rows)
    told = [(row.get("source"), row.get("state")) for row in rows if "state" in row]
    assert ("0", "ended") in told
    assert any("12 frames, 24 detections" in row["message"] for row in rows)


def test_a_run_in_text(clip: Path, capsys: Run) -> None:
    assert infer(clip) == 0
    said = capsys.readouterr()
    assert all(STAMP.match(line) for line in said.err.splitlines())
    assert "12 frames" in said.out
    assert infer(clip, "--log-level", "error") == 0
    assert capsys.readouterr().err == ""
    assert infer(clip, "--log-level", "loud") == 2


def test_images_have_plain_messages_unless_a_log_is_asked_for(
    tmp_path: Path,
    capsys: Run,
) -> None:
    (tmp_path / "bad.png").write_bytes(b"broken")
    assert infer(tmp_path) == 2
    assert not STAMP.match(capsys.readouterr().err)
    assert infer(tmp_path, "--log-json", "--jsonl", "-") == 2
    rows = lines(capsys.readouterr().err)
    assert "next" in next(row for row in rows if row["level"] == "error")


def test_a_camera_with_a_password_and_a_web_view_with_a_token(tmp_path: Path) -> None:
    with MjpegCamera() as camera:
        address = camera.address
        words = [address, "--log-json", "--log-level", "debug", "--serve", "127.0.0.1:0"]
        words += ["--webhook", "http://me:hunter2!x@127.0.0.1:9/hook?token=tok-en-value"]
        words += ["--jsonl", str(tmp_path / "lines"), "--debug"]
        environment = {**os.environ, "GHOST_DEPLOY_TOKEN": "s3cr3t-web-token"}
        run = start(*words, env=environment)
        assert run.stderr is not None
        said = []
        for line in run.stderr:
            said.append(json.loads(line))
            if "is live" in said[-1]["message"]:
                break
        run.terminate()
        rest = run.communicate(timeout=60)[1]
    said += lines(rest)
    assert run.returncode == 143
    text = json.dumps(said) + (tmp_path / "lines").read_text()
    assert "***" in text
    assert [secret for secret in (*SECRETS, "secret@", ":secret") if secret in text] == []


@pytest.mark.parametrize(
    "words",
    [
        ["infer", "b", "rtsp://me:hunter2!x@h/1", "--webhok", "http://me:hunter2!x@h"],
        ["infer", "b", "--serve", "me:1", "--batch", "http://me:hunter2!x@h?token=tok-en-value"],
        ["infer", "b", "rtsp://me:hunter2!x@h:99999999/1"],
        ["infer", "b", "rtsp://me:hunter2!x@h/1", "--mqtt", "http://me:hunter2!x@h"],
        ["infer", "b", "rtsp://me:hunter2!x@h/1", "--log-json", "--serve", "0.0.0.0:1"],
        ["inspect", "http://me:hunter2!x@h/x.pt"],
        ["check", "http://me:hunter2!x@h/x?password=q-u-e-r-y"],
    ],
)
def test_a_mistake_repeats_no_secret(words: list[str], capsys: Run) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    text = said.out + said.err
    assert text
    assert [secret for secret in SECRETS if secret in text] == []
