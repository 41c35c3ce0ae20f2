from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import select
import sys
import tempfile

import pytest

from ghost_deploy.cli.console import Column, Console
from ghost_deploy.cli.standard_streams import messages
from ghost_deploy.core.errors import GhostDeployError
from tests.support.waiting import wait_until

COLUMNS = (Column("name"), Column("count", right=True))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(*, terminal: bool = False) -> tuple[Console, io.StringIO, io.StringIO]:
    kind = Terminal if terminal else io.StringIO
    out, err = kind(), kind()
    return Console(out, err), out, err


def test_an_empty_table_has_its_titles() -> None:
    speaker, out, _ = console()
    speaker.table(COLUMNS, [])
    assert out.getvalue() == "name  count\n"


def test_a_plain_table_is_aligned_and_has_no_trailing_blanks() -> None:
    speaker, out, _ = console()
    speaker.table(COLUMNS, [["ab", "1"], ["abcdef", "1000000"]])
    assert out.getvalue() == "name      count\nab            1\nabcdef  1000000\n"


def test_a_terminal_gets_a_ruled_table_and_names_stay_literal() -> None:
    speaker, out, _ = console(terminal=True)
    speaker.table(COLUMNS, [["[red]cell[/red] :smile:", "1"]])
    assert "─" in out.getvalue()
    assert "[red]cell[/red] :smile:" in out.getvalue()


def test_a_document_is_json() -> None:
    speaker, out, err = console()
    speaker.document({"ä": [1, None]})
    assert json.loads(out.getvalue()) == {"ä": [1, None]}
    assert err.getvalue() == ""


def test_facts_are_aligned() -> None:
    speaker, out, _ = console()
    speaker.facts([("a", 1), ("long", "x")])
    speaker.facts([])
    assert out.getvalue() == "a     1\nlong  x\n"


@pytest.mark.parametrize(("terminal", "total"), [(False, 9), (True, 1), (True, 0)])
def test_no_progress_bar_without_a_terminal_or_for_few_steps(terminal: bool, total: int) -> None:
    speaker, out, err = console(terminal=terminal)
    with speaker.progress("working", total) as progress:
        progress(1)
    assert out.getvalue() == err.getvalue() == ""


def test_a_bar_on_a_terminal_goes_to_standard_error() -> None:
    speaker, out, err = console(terminal=True)
    with speaker.progress("working", 3) as progress:
        progress(3)
    assert "working" in err.getvalue()
    assert "3/3" in err.getvalue()
    assert out.getvalue() == ""


def test_a_bar_is_not_taken_for_a_remark_of_a_decoder() -> None:
    """A thread draws it, at times when the descriptor of standard error points elsewhere."""
    shown, terminal = pty.openpty()
    seen = bytearray()

    def is_drawn() -> bool:
        if select.select([shown], [], [], 0)[0]:
            seen.extend(os.read(shown, 1 << 16))
        return b"5/9" in seen

    with (
        contextlib.closing(os.fdopen(shown, "rb")),
        open(terminal, "w") as err,
        tempfile.TemporaryFile() as elsewhere,
        Console(io.StringIO(), err).progress("working", 9) as progress,
    ):
        kept = os.dup(terminal)
        os.dup2(elsewhere.fileno(), terminal)
        progress(5)
        wait_until(is_drawn, 10)
        os.dup2(kept, terminal)
        os.close(kept)
        assert not elsewhere.tell()


def test_steps_are_named_once_with_their_time() -> None:
    speaker, out, err = console()
    with speaker.steps() as step:
        step("loading", 0, 0)
        step("ONNX fp32", 0, 0)
        step("comparing a.jpg", 0, 2)
        step("comparing b.jpg", 1, 2)
    names = [line.rsplit(maxsplit=2)[0] for line in err.getvalue().splitlines()]
    assert names == ["loading", "ONNX fp32", "comparing 2 images"]
    assert all(line.endswith(" s") for line in err.getvalue().splitlines())
    assert out.getvalue() == ""


def test_the_last_step_is_named_when_it_fails() -> None:
    speaker, _, err = console()
    with pytest.raises(RuntimeError), speaker.steps() as step:  # noqa: PT012
        step("loading", 0, 0)
        raise RuntimeError
    assert err.getvalue().startswith("loading")


HOSTILE = "a\x1b[2J\u202eb\udcff"
SHOWN = "a\\x1b[2J\\u202eb\\udcff"


@pytest.mark.parametrize("terminal", [False, True])
def test_names_from_a_strangers_file_do_not_steer_the_terminal(terminal: bool) -> None:
    speaker, out, err = console(terminal=terminal)
    speaker.result(HOSTILE)
    speaker.facts([("name", HOSTILE)])
    speaker.table((Column("name"),), [[HOSTILE]])
    speaker.note(HOSTILE)
    speaker.error(GhostDeployError(HOSTILE, got=HOSTILE, fix="x"))
    assert out.getvalue().count(SHOWN) == 3
    assert err.getvalue().count(SHOWN) == 3


def test_what_is_no_threat_is_shown_as_it_is() -> None:
    speaker, out, _ = console()
    speaker.result("Zell\u00e4 \u7d30\u80de\u3000\n\u00e9\u00a0")
    assert out.getvalue() == "Zell\u00e4 \u7d30\u80de\u3000\n\u00e9\u00a0\n"


def test_a_table_in_80_columns_cuts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    speaker, out, _ = console(terminal=True)
    row = ["openvino-fp32", "openvino", "fp32", "passed", "45 of 45", "7.7e-07", "9.2e-05 px"]
    speaker.table([Column(f"column {n}") for n in range(7)], [row])
    assert all(cell in out.getvalue() for cell in row)


@pytest.mark.parametrize("columns", ["5", "40"])
def test_a_narrow_table_is_folded_not_cut(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    speaker, out, _ = console(terminal=True)
    speaker.table((Column("a"), Column("b")), [["openvino-fp32" * 3, "x"]])
    assert "\N{HORIZONTAL ELLIPSIS}" not in out.getvalue()
    assert "".join(out.getvalue().split()).count("openvino-fp32") >= 1


def test_time_left_of_the_whole_stands_behind_each_step() -> None:
    shown, _, err = console()
    with shown.steps() as progress:
        progress("fp32", 0, 2)
        progress.show_left(75.2)
        progress("collecting", 1, 2)
    first, second = err.getvalue().splitlines()
    assert first.startswith("fp32 2 images")
    assert first.endswith("   about 1:15 left in all")
    assert second.endswith("about 1:15 left in all")


def test_messages_have_the_encoding_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A progress bar chooses its characters by it."""
    stream = io.TextIOWrapper(io.BytesIO(), "latin-1", errors="backslashreplace")
    monkeypatch.setattr(sys, "stderr", stream)
    with messages() as err:
        assert (err.encoding, err.errors) == ("latin-1", "backslashreplace")  # type: ignore[attr-defined]
        print("ä ━", file=err, flush=True)
    assert stream.buffer.getvalue() == b"\xe4 \\u2501\n"  # type: ignore[attr-defined]
