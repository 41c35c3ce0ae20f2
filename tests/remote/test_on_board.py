"""Commands with `--on`: results and evidence, and what breaks while they run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest

from ghost_deploy.core.bundle import Bundle
from ghost_deploy.core.evidence.boards import BoardFacts
from ghost_deploy.remote.bring_back import store_report
from tests.support.assets import needs_assets, val_images
from tests.support.command_in_process import run_command
from tests.support.constant_model import write_constant_bundle
from tests.support.cut_proxy import CutProxy
from tests.support.exports import shared_proved_bundle
from tests.support.images import write_image
from tests.support.quick_environment import make_quick_environment
from tests.support.ssh_board import SshBoard
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
HARD = '/-it\'s größe "x" $HOME'
"""A folder of a board whose name is hard to quote."""


@pytest.fixture(scope="module")
def ready(board: SshBoard) -> SshBoard:
    """A board on which everything is installed, in two folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GHOST_DEPLOY_SSH", board.command)
        for folder in ("", f"{board.home}{HARD}"):
            make_quick_environment(board.address(folder), "onnxruntime")
    return board


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small bundle whose name is hard to quote."""
    return write_constant_bundle(tmp_path / "it's a -größe\" $HOME").path


def start(*words: str) -> subprocess.Popen[str]:
    """The command in a process of its own, as a user starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "ghost_deploy.cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture
def running(ready: SshBoard, bundle: Path) -> Iterator[subprocess.Popen[str]]:
    """A `bench` that takes a minute, in the middle of its measurement."""
    words = ("--on", ready.address(), "--duration", "60", "--runtime", "ort")
    process = start("bench", str(bundle), *words)
    wait_until(
        lambda: any("worker_main" in text or "spawn" in text for text in measuring(ready)),
        timeout_s=60,
        state=ready.processes,
    )
    yield process
    process.kill()
    process.communicate()


def measuring(board: SshBoard) -> list[str]:
    return [text for text in board.processes().values() if "environments" in text]


def test_one_table_of_two_boards_and_one_that_is_not_there(ready: SshBoard, bundle: Path) -> None:
    second = f"ssh://{ready.user}@localhost:{ready.port}{ready.home}{HARD}"
    boards = ("--on", ready.address(), "--on", second, "--on", "ssh://127.0.0.1:1")
    words = ("check", str(bundle), *boards, "--no-speed", "--runtime", "ort", "--precision", "fp32")
    done = run_command(*words)
    assert done.returncode == 2
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines[1:]] == [
        f"127.0.0.1:{ready.port}", f"localhost:{ready.port}", "127.0.0.1:1",
    ]  # fmt: skip
    # The bundle carries nothing to compare with.
    assert all("unjudged" in line for line in lines[1:3])
    assert "failed:" in lines[3]
    assert "127.0.0.1:1 cannot be reached" in done.stderr
    boards_report = Bundle.read(bundle).evidence.boards
    assert boards_report is not None
    assert [record.board.name for record in boards_report.boards] == [
        f"127.0.0.1:{ready.port}", f"localhost:{ready.port}",
    ]  # fmt: skip
    assert all(record.check and record.check.rows for record in boards_report.boards)
    assert all(record.board.packages["onnxruntime"] for record in boards_report.boards)


@needs_assets
def test_infer_finds_the_same_as_here(
    ready: SshBoard, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    bundle = shared_proved_bundle(tmp_path_factory)
    images = tmp_path / "it's -ü"
    images.mkdir()
    for path in val_images()[:2]:
        shutil.copy(path, images)
    words = ("infer", str(bundle), str(images), "--runtime", "ort", "--json", "--jsonl")
    there = run_command(
        *words,
        str(tmp_path / "there.jsonl"),
        "-o",
        str(tmp_path / "drawn"),
        "--on",
        ready.address(),
    )
    here = run_command(*words, str(tmp_path / "here.jsonl"))
    assert (there.returncode, here.returncode) == (0, 0), there.stderr
    assert json.loads(there.stdout)["boards"][0]["report"] == json.loads(here.stdout)
    assert (tmp_path / "there.jsonl").read_text() == (tmp_path / "here.jsonl").read_text()
    names = sorted(path.name for path in images.iterdir())
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == names
    plain = [word for word in words if not word.startswith("--json")]
    tables = run_command(*plain, "--on", ready.address()).stdout.partition("\n")[2]
    assert tables == run_command(*plain).stdout
    again = run_command(
        "infer", str(bundle), str(images), "-o", str(tmp_path / "drawn"), "--on", "ssh://x"
    )
    assert again.returncode == 2
    assert "exists already" in again.stderr


def test_messages_are_lines_of_a_log_here(ready: SshBoard, bundle: Path, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    words = ("infer", str(bundle), str(tmp_path), "--runtime", "ort", "--no-check")
    asked = ("--on", ready.address(), "--log-json", "--jsonl", "-")
    done = run_command(*words, *asked)
    assert done.returncode == 2
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [
        str(tmp_path / "a.png")
    ]
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert {"time", "level", "message"} <= set.intersection(*map(set, said))
    broken = next(each for each in said if "b.png" in each["message"])
    assert broken["level"] == "error"
    assert broken["board"] == f"127.0.0.1:{ready.port}"
    assert any(each["message"].startswith("board 127.0.0.1") for each in said)
    quiet = run_command(*words, *asked, "--log-level", "error")
    assert {json.loads(line)["level"] for line in quiet.stderr.splitlines()} == {"error"}


def test_a_board_that_reboots_while_it_measures(
    ready: SshBoard, running: subprocess.Popen[str], bundle: Path
) -> None:
    before = (bundle / "bundle.json").read_bytes()
    ready.restart()
    output, messages = running.communicate(timeout=60)
    assert running.returncode == 2
    assert output == ""
    assert "broke while a command ran there" in messages
    assert "Traceback" not in messages
    assert (bundle / "bundle.json").read_bytes() == before
    wait_until(lambda: not ready.processes(), state=ready.processes)
    short = ("--duration", "0.2", "--rounds", "2", "--runtime", "ort", "--json")
    images = bundle.parent / "our images"
    images.mkdir()
    cv2.imwrite(str(images / "a.png"), np.zeros((32, 32, 3), np.uint8))
    short = (*short, "--images", str(images))
    again = run_command("bench", str(bundle), "--on", ready.address(), *short)
    assert again.returncode == 0, again.stderr
    assert str(ready.home) not in again.stderr.replace(str(ready.home) + "/.cache/pip", "")
    assert again.stderr.count("stored in") == 1
    assert json.loads(again.stdout)["boards"][0]["report"]["images"]["source"] == "our images"
    boards = Bundle.read(bundle).evidence.boards
    assert boards is not None
    assert boards.boards[0].latency is not None
    assert boards.boards[0].latency.rows[0].figures is not None
    assert boards.boards[0].latency.images.source == "our images"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_ending_the_command_here_leaves_no_process(
    ready: SshBoard, running: subprocess.Popen[str], number: signal.Signals, code: int
) -> None:
    running.send_signal(number)
    _, messages = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Traceback" not in messages
    wait_until(lambda: not ready.processes(), state=ready.processes)


@pytest.mark.slow
def test_a_line_that_breaks_while_the_command_runs(ready: SshBoard, bundle: Path) -> None:
    with CutProxy(ready.port) as proxy:
        address = f"ssh://{ready.user}@127.0.0.1:{proxy.port}"
        words = ("--duration", "60", "--runtime", "ort", "--json")
        process = start("bench", str(bundle), "--on", address, *words)
        wait_until(lambda: measuring(ready), timeout_s=60, state=ready.processes)
        proxy.cut()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    (found,) = json.loads(output)["boards"]
    assert "broke" in found["error"]
    assert found["report"] is None
    wait_until(lambda: not ready.processes(), state=ready.processes)


@pytest.mark.slow
def test_a_board_whose_index_cannot_be_reached(ready: SshBoard, bundle: Path) -> None:
    config = ready.home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        "[global]\nindex-url = http://127.0.0.1:9/simple\nextra-index-url =\nretries = 0\n"
    )
    done = run_command(
        "check", str(bundle), "--runtime", "ort", "--on", ready.address(f"{ready.home}/third")
    )
    shutil.rmtree(config.parent)
    assert done.returncode == 3
    assert "cannot be installed" in done.stderr
    assert "--wheels" in done.stderr


FACTS = BoardFacts(name="pi5", asked_at="2026-01-01T00:00:00+00:00", clock_offset_s=3600.0)
SNAPSHOT = {
    "measured_at": "2026-01-01T00:00:00+00:00",
    "machine": {"system": "Linux 6", "architecture": "aarch64", "cpus": 4},
    "cpu_quota": 0,
    "governors": [],
    "load_before": None,
    "power_mode": "",
    "packages": {"onnxruntime": "1.2"},
}
ROW = {"artifact": "onnx-fp32", "sha256": "0", "runtime": "ort", "precision": "fp32"}
CHECKED = {
    "passed": False,
    "schema": 1,
    "model": "m",
    "images": 1,
    "rows": [ROW | {"status": "failed", "reasons": ["wrong"]}],
    "machine": SNAPSHOT,
}


@pytest.mark.parametrize("rows", [[], [ROW | {"status": "skipped", "reasons": ["no package"]}]])
def test_a_report_without_any_run_replaces_none(bundle: Path, rows: list[object]) -> None:
    empty = CHECKED | {"rows": rows}
    (sentence,) = store_report("check", FACTS, empty, [Bundle.read(bundle)])
    assert "nothing ran on pi5" in sentence
    assert Bundle.read(bundle).evidence.boards is None
    assert list(store_report("check", FACTS, CHECKED, [Bundle.read(bundle)]))
    before = (bundle / "bundle.json").read_bytes()
    assert list(store_report("check", FACTS, empty, [Bundle.read(bundle)]))
    assert (bundle / "bundle.json").read_bytes() == before


def test_boards_that_end_at_once_lose_nothing(bundle: Path) -> None:
    opened = Bundle.read(bundle)
    names = [f"board{number}" for number in range(8)]

    def store(name: str) -> None:
        facts = msgspec.structs.replace(FACTS, name=name)
        assert list(store_report("check", facts, CHECKED, [opened]))

    threads = [threading.Thread(target=store, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    boards = Bundle.read(bundle).evidence.boards
    assert boards is not None
    assert [record.board.name for record in boards.boards] == names


def test_times_of_a_clock_that_is_an_hour_behind_are_corrected(bundle: Path) -> None:
    list(store_report("check", FACTS, CHECKED, [Bundle.read(bundle)]))
    boards = Bundle.read(bundle).evidence.boards
    assert boards is not None
    check = boards.boards[0].check
    assert check is not None
    assert check.machine.measured_at == "2026-01-01T01:00:00+00:00"
    assert (
        f"board pi5: {FACTS.sentence}; check failed" in run_command("inspect", str(bundle)).stdout
    )
    assert boards.boards[0].board.packages == {"onnxruntime": "1.2"}


def test_evidence_of_a_bundle_that_was_replaced_meanwhile_is_left_out(bundle: Path) -> None:
    old = Bundle.read(bundle)
    shutil.rmtree(bundle)
    new = write_constant_bundle(bundle)
    changed = msgspec.structs.replace(
        old.document.artifacts[0], files={"model.fp32.onnx": "0" * 64}
    )
    sent = Bundle(bundle, msgspec.structs.replace(old.document, artifacts=(changed,)))
    (sentence,) = store_report("check", FACTS, CHECKED, [sent])
    assert "was exported anew" in sentence
    assert Bundle.read(new.path).evidence.boards is None
