"""Commands and Python in the documents: they parse, and those of the quickstart run."""

from __future__ import annotations

import ast
import contextlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.cli.main import COMMANDS, build_parser, main
from ghost_deploy.cli.parser import WrongArgumentsError
from tests.support.assets import BCCD, GHOST, needs_assets, val_images
from tests.support.constant_model import write_constant_bundle
from tests.support.documents import DOCUMENTS, ROOT, blocks, commands
from tests.support.images import write_image
from tests.support.videos import write_video

NOW = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]
by_document = pytest.mark.parametrize("path", NOW, ids=lambda path: str(path.relative_to(ROOT)))


def refused(words: list[str]) -> str:
    """What the parser says of the words of a command; empty if it takes them."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            build_parser(COMMANDS).parse_args(words)  # --help exits
    except WrongArgumentsError as error:
        return error.what
    return ""


@by_document
def test_commands_parse(path: Path) -> None:
    found = [words for words in commands(path.read_text()) if words[0] != "COMMAND"]
    assert [(words, why) for words in found if (why := refused(words))] == []


def test_the_check_finds_and_refuses_commands() -> None:
    text = (
        "# A\n\n    ghost-deploy inspect best.pt   # comment\n    pip install x\n\n"
        "ghost-deploy no\n\n```console\n$ ghost-deploy export best.pt -o out \\\n"
        "    --imagse x | jq . && ghost-deploy nope\n```\n"
    )
    found = list(commands(text))
    assert found == [
        ["inspect", "best.pt"],
        ["export", "best.pt", "-o", "out", "--imagse", "x"],
        ["nope"],
    ]
    assert [bool(refused(words)) for words in found] == [False, True, True]
    assert sum(len(list(commands(path.read_text()))) for path in NOW) > 40


@by_document
def test_python_is_python(path: Path) -> None:
    for language, code in blocks(path.read_text()):
        if language == "python":
            ast.parse(code)
            # Each can be pasted alone.
            assert "import ghost_deploy as gd" in code or "gd." not in code, code


def test_the_python_of_the_quickstart_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_constant_bundle(tmp_path / "out" / "best")
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png", np.zeros((48, 64, 3), np.uint8))
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "quickstart.md").read_text()
    codes = [code for language, code in blocks(text) if language == "python"]
    names: dict[str, object] = {}
    for code in codes:
        exec(code, names)
    assert len(codes) == 2
    assert "b.png 0" in capsys.readouterr().out


@pytest.mark.slow
@needs_assets
def test_the_commands_of_the_quickstart_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In their order in one folder, with a real checkpoint, images and labels."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(GHOST, "best.pt")
    Path("images").mkdir()
    for path in val_images()[:4]:
        shutil.copy(path, "images")
    Path("data.yaml").write_text((BCCD / "data.yaml").read_text())
    for each in ("images", "labels"):
        (tmp_path / "bccd" / each).parent.mkdir(exist_ok=True)
        (tmp_path / "bccd" / each).symlink_to(BCCD / each)
    lines = [line for line in Path("data.yaml").read_text().splitlines() if line[:5] != "path:"]
    Path("data.yaml").write_text("\n".join([f"path: {tmp_path / 'bccd'}", *lines]))
    write_video(tmp_path / "drive.mp4", 20)
    done = []
    for words in commands((ROOT / "docs" / "quickstart.md").read_text()):
        if "rtsp://camera/1" in words:  # until it is stopped
            words[words.index("rtsp://camera/1")] = "drive.mp4"
            words[words.index("127.0.0.1:8080")] = "127.0.0.1:0"
        done.append((words[0], main(words), capsys.readouterr().err))
    assert [(name, said) for name, code, said in done if code] == []
    names = ["inspect", "export", "infer", "infer", "infer", "validate", "bench", "report"]
    assert [name for name, _, _ in done if name not in {"doctor", "check"}] == names
    assert Path("report.html").stat().st_size > 10_000
    assert len(Path("detections.jsonl").read_text().splitlines()) == 4
    assert Path("annotated/drive.mp4").is_file()
    assert len(Path("live.jsonl").read_text().splitlines()) == 20
