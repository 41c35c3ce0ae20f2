"""Errors of the command line name what was probably meant."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.runtimes.table import RUNTIMES

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["exprot", "best.pt"], "did you mean export?"),
        (["chekc", "out/best"], "did you mean check?"),
        (["infer", "b", "images", "--jsnol", "x"], "did you mean --jsonl?"),
        (["infer", "b", "images", "--ouut=x"], "did you mean --out?"),
        (["bench", "b", "--precison", "fp16"], "did you mean --precision?"),
        (["parity", "a", "b", "--conf", "0.3"], "--conf is an option of infer"),
        (["build", "b", "--calibrator", "entropi"], "did you mean entropy?"),
        (["completion", "bsh"], "did you mean bash?"),
        (["inspect", "zoo:yolov8n-ghsot"], "Did you mean yolov8n-ghost?"),
        (["inspect", "zoo:yolov8-ghost"], "letter in the brackets of yolov8[nsmlx]-ghost"),
        (["inspect", "zoo:YOLO11n-ghostnetv2.yaml"], "Did you mean yolo11n-ghostnetv2?"),
        (["inspect", "yolov8n-ghost"], "inspect zoo:yolov8n-ghost shows"),
        (["inspect", "yolov8n-ghost.pt"], "inspect zoo:yolov8n-ghost shows"),
        (["export", "zoo:yolov8n-ghost", "-o", "out"], "is not trained"),
    ],
)
def test_a_near_name_is_asked_for(words: list[str], hint: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["infer", "b", "images", "--jsnol", "x"], "--jsnol", "--jsonl"),
        (["infer", "b"], "SOURCE", "--help"),
        (["infer", "b", "images", "--conf", "7"], "--conf", "--help"),
        (["infer", "b", "images", "--wheels", "x"], "--wheels", "--on"),
        (["infer", "b", "nowhere/*.jpg"], "nowhere", "Check"),
        (["infer", "b", "images", "--json", "--jsonl", "-"], "--jsonl", "file"),
    ],
)
def test_with_log_json_wrong_use_is_one_line_of_json(
    words: list[str], said: str, hint: str, capsys: Capture
) -> None:
    assert main([*words, "--log-json"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    document = json.loads(line)
    assert set(document) >= {"time", "level", "message", "next"}
    assert document["level"] == "error"
    assert said in document["message"]
    assert hint in f"{document['message']} {document['next']}"


def test_commands_without_a_log_say_it_in_words(capsys: Capture) -> None:
    assert main(["export", "best.pt", "-o", "out", "--log-json"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("ghost-deploy export: error: unrecognized arguments: --log-json\n")
    assert "--log-json is an option of infer" in said


@pytest.mark.parametrize("words", [["fly"], ["infer", "b", "images", "--zzzzzz"]])
def test_where_nothing_is_near_nothing_is_asked(words: list[str], capsys: Capture) -> None:
    assert main(words) == 2
    assert "did you mean" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["export", "best.pt", "-o", "out", "--images"],
        ["parity", "best.pt", "out", "--images"],
        ["validate", "out", "--data", "d.yaml", "--images"],
    ],
)
def test_an_expanded_pattern_is_explained(
    words: list[str], tmp_path: Path, capsys: Capture
) -> None:
    names = [tmp_path / name for name in ("a.jpg", "b.jpg")]
    for name in names:
        name.touch()
    assert main([*words, *map(str, names)]) == 2
    assert "quote it" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["infer", "batch", "bench", "check", "validate", "compare"])
def test_help_names_the_runtimes_of_the_table(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0
    page = " ".join(capsys.readouterr().out.split())
    found = re.search(r" --runtime R(?: \[R \.\.\.\])? (\w.*?) --precision ", page)
    assert found
    of_files = [row.name for row in RUNTIMES.values() if not row.remote]
    assert f"{', '.join(of_files[:-1])} or {of_files[-1]}" in found[1]
    for row in RUNTIMES.values():
        assert (row.name in found[1]) == (not row.remote or command == "infer")
