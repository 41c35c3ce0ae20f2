"""`ghost-deploy report` on documents, and on what real commands printed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from ghost_deploy.cli.main import main
from ghost_deploy.core.install_command import install_command
from tests.support.assets import needs_assets
from tests.support.page_tracing import faults
from tests.support.report_documents import USUAL, accuracy_report, bench_report, parity_report

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def documents(tmp_path: Path) -> list[str]:
    made = {
        "accuracy": accuracy_report(USUAL),
        "parity": parity_report(USUAL),
        "latency": bench_report(USUAL),
    }
    paths = [tmp_path / f"{name}.json" for name in made]
    for path, document in zip(paths, made.values(), strict=True):
        path.write_bytes(msgspec.json.encode(document.to_document()))
    return [str(path) for path in paths]


@pytest.mark.parametrize("words", [[], ["a.json"], ["-o", "x.html"]])
def test_wrong_use(words: list[str], capsys: Capture) -> None:
    assert main(["report", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "ghost-deploy report: error:" in said.err


def test_what_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{"rows": [')
    out = tmp_path / "page.html"
    for name in (str(broken), str(tmp_path / "absent.json"), str(tmp_path)):
        assert main(["report", name, "-o", str(out)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("next: ") == 3
    assert not out.exists()


def test_all_forms(documents: list[str], tmp_path: Path, capsys: Capture) -> None:
    out = [tmp_path / "new" / name for name in ("r.html", "r.md", "r.json")]
    words = ["-o", str(out[0]), "--markdown", str(out[1]), "--json", str(out[2])]
    assert main(["report", *documents, *words]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("Use OpenVINO FP16 here: ")
    assert all(str(path) in said.err for path in out)
    document = json.loads(out[2].read_bytes())
    assert faults(out[0].read_text(), document) == []
    assert document["verdict"]["headline"] in out[1].read_text().replace("\\", "")
    again = tmp_path / "again.html"
    assert main(["report", str(out[2]), "-o", str(again)]) == 0
    headline = re.compile("<h2><data.*?</h2>")
    assert headline.findall(again.read_text()) == headline.findall(out[0].read_text())


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("r.html", "<!doctype html>"),
        ("r.HTM", "<!doctype html>"),
        ("r", "<!doctype html>"),
        ("r.md", "# "),
        ("r.Markdown", "# "),
        ("r.json", "{"),
    ],
)
def test_the_name_says_the_form(
    name: str, begins: str, documents: list[str], tmp_path: Path
) -> None:
    out = tmp_path / name
    assert main(["report", *documents, "-o", str(out)]) == 0
    assert out.read_text().lower().startswith(begins)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "r.pdf"], "--markdown"),
        (["-o", "r.html", "--markdown", "m.html"], "Markdown"),
        (["-o", "r.html", "--json", "j.md"], "--markdown FILE"),
        (["-o", "r.md", "--markdown", "other.md"], "-o r.html"),
        (["-o", "r.json", "--json", "other.json"], "-o r.html"),
    ],
)
def test_a_name_of_another_form_is_refused(
    words: list[str],
    said: str,
    documents: list[str],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(["report", *documents, *words]) == 2
    assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_outputs_that_cannot_be_written(
    documents: list[str], tmp_path: Path, capsys: Capture
) -> None:
    same = str(tmp_path / "r.html")
    assert main(["report", *documents, "-o", same, "--json", same]) == 2
    (tmp_path / "file").write_text("")
    assert main(["report", *documents, "-o", str(tmp_path / "file" / "r.html")]) == 2
    assert capsys.readouterr().err.count("next: ") == 2


def test_without_jinja2_only_the_page_is_missing(
    documents: list[str], tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    assert main(["report", *documents, "-o", str(tmp_path / "r.html")]) == 3
    assert install_command("report") in capsys.readouterr().err


@needs_assets
def test_the_evidence_of_a_real_bundle(bundle: Path, tmp_path: Path, capsys: Capture) -> None:
    page, document = tmp_path / "r.html", tmp_path / "r.json"
    assert main(["report", str(bundle), "-o", str(page), "--json", str(document)]) == 0
    assert "pass; there are no times by bench" in capsys.readouterr().out
    assert faults(page.read_text(), json.loads(document.read_bytes())) == []
    assert "model.fp16.onnx" in page.read_text()
