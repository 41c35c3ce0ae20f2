"""The table of sinks: each row can be opened, and its option exists."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghost_deploy.cli.main import build_parser
from ghost_deploy.core.errors import InputError
from ghost_deploy.stream.sinks.context import SinkContext
from ghost_deploy.stream.sinks.sink_table import SINKS, SinkKind, open_sinks
from ghost_deploy.stream.sources.source_table import SourceAddress
from tests.support.stream_results import make_result

PYPROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"


@pytest.mark.parametrize("kind", SINKS, ids=lambda kind: kind.option)
def test_a_row(kind: SinkKind) -> None:
    module = importlib.import_module(f"ghost_deploy.stream.{kind.module}")
    assert callable(module.open_sink)
    assert not kind.extra or f"\n{kind.extra} = [" in PYPROJECT.read_text()
    args = build_parser({"infer"}).parse_args(["infer", "bundle", "0"])
    assert not getattr(args, kind.option)


def context(**options: Any) -> SinkContext:
    pipeline: Any = SimpleNamespace(
        is_live=True,
        has_images=False,
        time_base_of=lambda _: None,
        address_of=lambda source: SourceAddress("rtsp", source, source),
    )
    return SinkContext(pipeline, SimpleNamespace(), **options)  # type: ignore[arg-type]


def test_sinks_are_opened_and_counted(tmp_path: Path) -> None:
    run = context()
    targets = {"snapshots": str(tmp_path / "shots"), "jsonl": str(tmp_path / "out.jsonl")}
    sinks = open_sinks(targets, run)
    for sink in sinks:
        sink.write(make_result())
        sink.close()
    assert {name: read().sent for name, read in run.deliveries.items()} == {
        "lines": 1,
        "snapshots": 1,
    }
    assert len(list((tmp_path / "shots").iterdir())) == 1


def test_a_sink_that_does_not_open_closes_those_before_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    targets = {"jsonl": str(tmp_path / "out.jsonl"), "snapshots": str(tmp_path / "file")}
    run = context()
    with pytest.raises(InputError, match="cannot write"):
        open_sinks(targets, run)
    assert list(run.deliveries) == ["lines"]
    assert (tmp_path / "out.jsonl").read_bytes() == b""
