"""A board that answers wrongly: its error, no other board's, and nothing here without limits."""

from __future__ import annotations

import argparse
import io
import re
import shlex
import signal
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ghost_deploy.cli.board_outcome import BoardOutcome, clean_board, facts_of
from ghost_deploy.cli.board_results import finish
from ghost_deploy.cli.console import Console
from ghost_deploy.cli.on_boards import _stop_all
from ghost_deploy.core.errors import BoardError, LineError
from ghost_deploy.core.evidence.boards import BoardFacts
from ghost_deploy.core.evidence.machine import Snapshot
from ghost_deploy.judge.bench.read_machine import read_machine
from ghost_deploy.remote import archive_stream, line_call
from ghost_deploy.remote.address import BoardAddress
from ghost_deploy.remote.answers import reading_answer
from ghost_deploy.remote.bring_back import _corrected
from ghost_deploy.remote.job import BoardJob, JobResult
from ghost_deploy.remote.line import Line
from ghost_deploy.remote.local_process import LocalProcess
from ghost_deploy.remote.session import BoardSession
from tests.support import lying_board

ESCAPES = "\x1b]0;mine\x07\x1b[2Jgone\x9b8m"

ADDRESS = BoardAddress.parse("ssh://edge")


def asked(
    what: str, action: Callable[[BoardSession], object], monkeypatch: pytest.MonkeyPatch
) -> BoardOutcome:
    """The outcome of something on a board that answers wrongly."""
    words = [sys.executable, "-S", str(lying_board.__file__), what]
    monkeypatch.setenv("GHOST_DEPLOY_SSH", shlex.join(words))

    def done(session: BoardSession) -> BoardOutcome:
        action(session)
        return BoardOutcome(session.address, 0, facts_of(session))

    return BoardOutcome.of(ADDRESS, lambda _: None, done, lambda _: None)


def send(session: BoardSession) -> None:
    session.send({"a": Path(__file__)}, "data")


@pytest.mark.parametrize(
    ("what", "action"),
    [
        ("code=abc", clean_board),
        ("code=", clean_board),
        ("code=-1", clean_board),
        ("code=99999999", clean_board),
        ("lock=no", clean_board),
        ("greeting", clean_board),
        ("remove=oops", clean_board),
        ('remove=[["a","b"]]', clean_board),
        ("make=noise {}", send),
        ("make=[]", send),
        ('make={"free":"x","there":0}', send),
        ('make={"free":1e400,"there":0}', send),
        ("make=\xff\xfe", send),
        ("list=noise{}", send),
        ("list=[1]", send),
        ('list={"a":1}', send),
        ("list=" + "[" * 100_000, send),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else "",
)
def test_a_wrong_answer_is_an_error_of_the_board(
    what: str, action: Callable[[BoardSession], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = asked(what, action, monkeypatch)
    assert isinstance(outcome.error, BoardError)
    assert "the board edge answered something that is not" in str(outcome.error)
    assert len(str(outcome.error)) < 700


@pytest.mark.parametrize("time_s", ["1e300", "-1e12", "1e13", "-1"])
def test_a_clock_that_is_none(time_s: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = lying_board.right_answer(["", "", "Facts about the board"])[1].decode()
    wrong = right.replace(f"{lying_board.FACTS['time_s']}", time_s)
    outcome = asked(f"facts={wrong}", clean_board, monkeypatch)
    assert "answered something that is not a time" in str(outcome.error)


@pytest.mark.parametrize("what", ["nothing", "bye"])
def test_a_right_answer(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a shell that prints something at its end."""
    outcome = asked(what, clean_board, monkeypatch)
    assert outcome.error is None


@pytest.mark.parametrize("sent", ["", "x", "ghost-deploy-archive\n", "ghost-deploy-archive\nxyz"])
def test_an_archive_that_is_none(
    sent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(session: BoardSession) -> None:
        session.fetch("/board/out", tmp_path / "back")

    outcome = asked(f"archive={sent}", fetch, monkeypatch)
    assert "answered something that is not an archive" in str(outcome.error)


def test_attributes_of_a_file_have_a_limit(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a")
        member.pax_headers = {"comment": "x" * (2 << 20)}
        archive.addfile(member)
    stream.seek(0)
    with pytest.raises(tarfile.ReadError, match="attributes of more than a MiB"):
        archive_stream._unpack(stream, tmp_path, "edge")


def test_an_archive_of_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_stream, "MOST_FILES", 2)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name in "abc":
            archive.addfile(tarfile.TarInfo(name))
    stream.seek(0)
    with pytest.raises(BoardError, match="an archive of at most 2 files"):
        archive_stream._unpack(stream, tmp_path, "edge")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


OUTSIDE = ["../a", "/etc/a", "b/../../a", "b/..", ".."]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_leave_the_folder(name: str, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("first"))
        archive.addfile(tarfile.TarInfo(name))
    stream.seek(0)
    with pytest.raises(BoardError, match="edge sends what was not asked for"):
        archive_stream._unpack(stream, tmp_path / "back", "edge")
    assert [path.name for path in tmp_path.rglob("*")] == ["back", "first"]


KINDS = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file(kind: bytes, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        member = tarfile.TarInfo("a")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    stream.seek(0)
    with pytest.raises(BoardError, match="edge sends what was not asked for"):
        archive_stream._unpack(stream, tmp_path, "edge")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("sizes", [[1 << 41], [1 << 37] * 3])
def test_files_of_any_size(sizes: list[int], tmp_path: Path) -> None:
    """What an archive announces is refused before it is read; sparse files announce it too."""
    stream = io.BytesIO()
    for number, size in enumerate(sizes):
        member = tarfile.TarInfo(f"a{number}")
        member.type = tarfile.GNUTYPE_SPARSE
        header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
        header[386:482] = bytes(96)  # no parts: all of it is a hole
        header[483:495] = b"%011o\0" % size if size < 1 << 33 else _base_256(size)
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        stream.write(header)
    stream.seek(0)
    monkey = pytest.MonkeyPatch()
    monkey.setattr(archive_stream, "write_whole", lambda path, write: path.touch())
    try:
        with pytest.raises(BoardError, match="an archive of at most 1000000 files and 256 GiB"):
            archive_stream._unpack(stream, tmp_path, "edge")
    finally:
        monkey.undo()
    assert len([*tmp_path.iterdir()]) == len(sizes) - 1


def _base_256(size: int) -> bytes:
    """A number of GNU's tar that octal digits do not hold."""
    return bytes([128]) + size.to_bytes(11, "big")


def test_output_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_call, "_MAX_OUTPUT", 1 << 20)
    monkeypatch.setattr(line_call, "_END_S", 0.1)
    outcome = asked("endless", clean_board, monkeypatch)
    assert type(outcome.error) is BoardError  # a line that broke is tried again for half a minute
    assert "more than 1 MiB" in str(outcome.error)


@pytest.mark.parametrize("what", [f"make={ESCAPES}", f"code={ESCAPES}", f"said={ESCAPES}"])
def test_what_a_board_says_does_not_steer_the_terminal(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = asked(what, send, monkeypatch)
    console = Console(io.StringIO(), io.StringIO())
    assert outcome.error is not None
    console.error(outcome.error)
    said = f"{outcome.error}{console.err.getvalue()}"  # type: ignore[attr-defined]
    assert "gone" in said
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", said)


def test_a_board_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_call, "_FIRST_S", 0.5)
    monkeypatch.setattr(line_call, "_END_S", 0.1)
    outcome = asked("mute", clean_board, monkeypatch)
    assert isinstance(outcome.error, LineError)
    assert "edge does not answer" in str(outcome.error)


def test_messages_without_an_end() -> None:
    text = b"a\r\n" + b"x" * (10 << 20) + b"\nb\n" + b"y" * (1 << 20)
    lines = list(line_call._short_lines(io.BytesIO(text)))
    assert [line[:1] for line in lines] == ["a", "x", "b", "y"]
    assert max(map(len, lines)) <= line_call._MOST_LINE
    process = LocalProcess(["sh", "-c", "head -c 9000000 /dev/zero >&2"])
    code, messages = process.finish()
    process.end()
    assert (code, len(messages)) == (0, 1 << 16)


def test_a_percent_sign_in_the_folder_is_no_token_of_ssh(tmp_path: Path) -> None:
    words = Line(ADDRESS, tmp_path / "a%p").ssh_words()
    assert "/a%%p/" in words[words.index("-S") + 1]


class Measured(msgspec.Struct, frozen=True):
    """A report with a time."""

    machine: Snapshot


@pytest.mark.parametrize("offset_s", [0.0, 60.0, 1e300, -1e12, float("nan")])
@pytest.mark.parametrize("then", ["yesterday", "2026-12-01T00:00:00+00:00"])
def test_times_that_are_none(then: str, offset_s: float) -> None:
    machine = Snapshot(
        measured_at=then, machine=read_machine(), cpu_quota=0, governors=(), load_before=None,
        power_mode="", packages={},
    )  # fmt: skip

    if then != "yesterday" and abs(offset_s) <= 60:
        found = _corrected(Measured(machine), offset_s, "edge")
        assert found.machine.measured_at[:16] == f"2026-12-01T00:0{int(offset_s / 60)}"
        return
    with pytest.raises(BoardError, match="not a time of measurement"):
        _corrected(Measured(machine), offset_s, "edge")


def test_errors_of_ours_stay_and_those_of_this_machine_too() -> None:
    with pytest.raises(LineError, match="broke"), reading_answer("edge", "x"):
        raise LineError("broke", fix="Run it again")
    with pytest.raises(OSError, match="disk"), reading_answer("edge", "x"):
        raise OSError("disk")


@pytest.mark.parametrize("command", ["check", "bench", "validate", "infer", "build"])
@pytest.mark.parametrize("document", [b'{"rows":5}', b'{"rows":[1]}', b'{"images":[5]}', b"{}"])
@pytest.mark.parametrize("boards", [1, 2])
def test_a_report_that_is_none_does_not_stop_the_others(
    command: str, document: bytes, boards: int, tmp_path: Path
) -> None:
    facts = BoardFacts(name="edge", asked_at="")
    good = b'{"classes":{"a":1},"detections":1,"images":[],"rows":[],"artifacts":[]}'
    outcomes = [
        BoardOutcome(
            BoardAddress.parse(f"ssh://edge{n}"), 0, facts, None, JobResult(0, text, ""), tmp_path
        )
        for n, text in enumerate([document, good][:boards])
    ]
    args = argparse.Namespace(command=command, json=False, clean=False, store=False, jsonl=None)
    vars(args).update(out=None, save_uncertain=None, overwrite=False, save=None)
    if command == "build":
        outcomes[1:] = []
    console = Console(io.StringIO(), io.StringIO())
    assert finish(args, outcomes, console, BoardJob(command, ())) == 2
    said = console.err.getvalue()  # type: ignore[attr-defined]
    assert "edge0 answered something that is not a report" in said


@pytest.mark.parametrize("as_json", [False, True])
def test_an_image_that_the_board_cannot_read_has_its_name_here(
    as_json: bool, tmp_path: Path
) -> None:
    document = (
        b'{"classes":{},"detections":0,"images":[],"sources":[],"unreadable":["/b/1/a.jpg is"]}'
    )
    result = JobResult(2, document, "", {"/b/1/a.jpg": "img/a.jpg"})
    facts = BoardFacts(name="edge", asked_at="")
    outcome = BoardOutcome(ADDRESS, 2, facts, None, result, tmp_path)
    args = argparse.Namespace(command="infer", json=as_json, clean=False, jsonl=None)
    vars(args).update(out=None, save_uncertain=None, overwrite=False, save=None)
    console = Console(io.StringIO(), io.StringIO())
    assert finish(args, [outcome], console, BoardJob("infer", ())) == 2
    said, result_text = (each.getvalue() for each in (console.err, console.out))  # type: ignore[attr-defined]
    assert "/b/1" not in said + result_text
    assert ("img/a.jpg is" in result_text) is as_json, "its message came while the command ran"


def test_a_second_signal_does_not_break_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []

    class Slow:
        def stop(self) -> None:
            time.sleep(0.5)
            ended.append(self)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    try:
        sessions: Any = [Slow(), Slow()]
        _stop_all(sessions)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(ended) == 2
