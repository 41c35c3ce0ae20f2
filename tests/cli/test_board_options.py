"""What becomes of each option on a board."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from ghost_deploy.cli.board_data import data_for_board
from ghost_deploy.cli.board_options import BOARD_OPTIONS
from ghost_deploy.cli.board_words import job_of
from ghost_deploy.cli.main import build_parser
from ghost_deploy.cli.parser import commands_of
from ghost_deploy.core.errors import GhostDeployError, UsageError
from ghost_deploy.judge.datasets.open_dataset import open_dataset
from ghost_deploy.remote.job import BoardJob, Returned, SentBundle, SentFiles
from tests.support.assets import BCCD, needs_assets
from tests.support.constant_model import write_constant_bundle
from tests.support.images import write_image

HANDLINGS = {"passed", "bundle", "file", "images", "sources", "data", "output", "here"}


@pytest.mark.parametrize("command", BOARD_OPTIONS)
def test_the_table_has_every_option_and_no_other(command: str) -> None:
    parser = commands_of(build_parser({command}))[command]
    table = BOARD_OPTIONS[command]
    assert {action.dest for action in parser._actions} - {"help"} == set(table)
    wrong = {h for h in table.values() if not h.startswith("refused: ") and h not in HANDLINGS}
    assert wrong == set()


def job(tmp_path: Path, *words: str) -> BoardJob:
    parser = build_parser({words[0]})
    args = parser.parse_args([*words, "--on", "ssh://x"])
    own = commands_of(build_parser({words[0]}))[words[0]]
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    return job_of(args, own, words[1:], scratch)


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    return str(write_constant_bundle(tmp_path / "best").path)


def shown(word: object) -> object:
    """An argument without the places of this machine."""
    if isinstance(word, tuple):
        return (word[0], shown(word[1]))
    if isinstance(word, SentBundle):
        return word.bundle.path.name
    if isinstance(word, SentFiles):
        return (sorted(word.files), word.target)
    return word.name if isinstance(word, Returned) else word


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["check"], ["--", "best"]),
        (
            ["check", "--runtime", "ort", "openvino", "--timeout", "7", "--no-speed", "--json"],
            ["--runtime", "ort", "openvino", ("--timeout", "7"), "--no-speed", "--", "best"],
        ),
        (["check", "--trust", "IMAGE"], [("--trust", (["a b.png"], "a b.png")), "--", "best"]),
        (
            ["bench", "--threads", "1", "2", "--no-store", "--images", "FOLDER"],
            [("--images", (["a b.png", "c.png"], "")), "--threads", "1", "2", "--", "best"],
        ),
        (
            ["build", "--trt", "--int8", "--hardware-compatible", "--workspace", "9"],
            ["--trt", "--int8", ("--workspace", "9"), "--hardware-compatible", "--", "best"],
        ),
        (
            ["infer", "IMAGE", "FOLDER", "-o", "x", "--jsonl", "-", "--conf", "a=0.5", "--conf",
             "0.3", "--no-agnostic", "--save", "yolo,csv"],
            [("--out", "out"), ("--save", "yolo,csv"), ("--jsonl", "lines.jsonl"),
             ("--conf", "a=0.5"), ("--conf", "0.3"), "--no-agnostic", "--", "best",
             (["a b.png"], "a b.png"), (["a b.png", "c.png"], "")],
        ),
    ],
)  # fmt: skip
def test_words(tmp_path: Path, bundle: str, words: list[str], expected: list[object]) -> None:
    folder = tmp_path / "-images"
    folder.mkdir()
    for name in ("a b.png", "c.png"):
        write_image(folder / name)
    places = {"IMAGE": str(folder / "a b.png"), "FOLDER": str(folder)}
    command, *rest = [places.get(word, word) for word in words]
    found = job(tmp_path, command, bundle, *rest)
    assert [shown(word) for word in found.words] == expected


def test_trust_that_the_environment_asks_for_is_asked_for_there(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    signers = tmp_path / "signers"
    signers.write_text("")
    monkeypatch.setattr("ghost_deploy.cli.board_words.trusted_signers", lambda: signers)
    found = job(tmp_path, "check", bundle)
    assert [shown(word) for word in found.words] == [
        ("--trust", (["signers"], "signers")), "--", "best",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["infer", "BUNDLE", "rtsp://user:secret@camera/1"], "cameras and streams"),
        (["infer", "BUNDLE", "0"], "cameras and streams"),
        (["infer", "BUNDLE", "-"], "cameras and streams"),
        (["infer", "BUNDLE", "x.png", "--show"], "--show cannot be used with --on"),
        (["infer", "BUNDLE", "x.png", "--serve", "127.0.0.1:80"], "--serve cannot be used"),
        (["validate", "BUNDLE", "--data", "d", "--fork", "f"], "--fork cannot be used"),
        (["validate", "BUNDLE", "--data", "d", "--checkpoint", "c.pt"], "--checkpoint cannot"),
        (["validate", "BUNDLE", "--data", "no.yaml"], "no data set description"),
        (["bench", "best.onnx"], "only bundles go to boards"),
        (["bench", "BUNDLE", "BUNDLE"], "one name"),
        (["check", "BUNDLE", "--trust", "no"], "there is no file"),
        (["check", "no/bundle.json"], "is not a bundle"),
    ],
)
def test_what_is_refused_before_a_board_is_asked(
    tmp_path: Path, bundle: str, words: list[str], said: str
) -> None:
    with pytest.raises(GhostDeployError, match=said) as caught:
        job(tmp_path, *(bundle if word == "BUNDLE" else word for word in words))
    assert "secret" not in str(caught.value)


def test_an_output_of_several_boards_does_not_mix() -> None:
    from ghost_deploy.cli.board_sources import place_of

    assert place_of("out/ann", "pi:2222", several=False) == Path("out/ann")
    assert place_of("out/ann", "pi:2222", several=True) == Path("out/ann/pi-2222")
    assert place_of("out/l.jsonl", "pi", several=True) == Path("out/l.pi.jsonl")


def laid_out(sent: SentFiles, folder: Path) -> Path:
    """What was to be sent, as it lies on a board."""
    for name, path in sent.files.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    return folder / sent.target


@needs_assets
@pytest.mark.parametrize(("name", "split"), [("data.yaml", "val"), ("val.json", "val")])
def test_a_data_set_is_the_same_on_the_board(tmp_path: Path, name: str, split: str) -> None:
    here = open_dataset(BCCD / name, split=split)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sent, images = data_for_board(BCCD / name, here, scratch)
    board = tmp_path / "board"
    file = laid_out(sent, board)
    there = open_dataset(file, split=split, images=board / images if images else None)
    assert there.facts() == here.facts()
    assert [i.path.name for i in there.images] == [i.path.name for i in here.images]
    again, _ = data_for_board(BCCD / name, here, scratch)
    assert again.key == sent.key


def test_names_of_a_coco_file_that_lead_out_of_its_folder(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    document = {
        "images": [{"id": 1, "file_name": "../x/a.png", "width": 8, "height": 8}],
        "annotations": [],
        "categories": [{"id": 1, "name": "c"}],
    }
    (tmp_path / "d.json").write_text(json.dumps(document))
    dataset = open_dataset(tmp_path / "d.json", images=tmp_path)
    sent, _ = data_for_board(tmp_path / "d.json", dataset, tmp_path)
    assert set(sent.files) == {"d.json", "images/a.png"}


def test_the_options_of_boards_need_a_board() -> None:
    from ghost_deploy.cli.options import refuse_without_boards

    with pytest.raises(UsageError, match="--clean is for boards"):
        refuse_without_boards(argparse.Namespace(clean=True, wheels=None))
