from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

from ghost_deploy.stream.sinks.jsonl import JsonlSink
from ghost_deploy.stream.sinks.jsonl_writer import JSONL_SCHEMA
from ghost_deploy.stream.sinks.record import (
    Annotator,
    DetectionGate,
    captured_at,
    file_stem,
    result_record,
)
from tests.support.stream_results import NOTHING, make_result


def test_a_record() -> None:
    record = json.loads(json.dumps(result_record(make_result(index=7))))
    captured = datetime.fromisoformat(record.pop("time"))
    assert abs(captured - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert [row["class_name"] for row in record.pop("detections")] == ["dög", "cat"]
    assert record == {
        "source": "rtsp://***@host/cam1",
        "source_id": "cam1",
        "index": 7,
        "frame": 7,
        "position_s": None,
        "age_ms": 20.0,
        "timings_ms": {"pre": 2.0, "run": 12.0, "post": 1.0},
        "size_hw": [48, 64],
    }


def test_captures_keep_their_distance() -> None:
    first, second = (captured_at(make_result(at_ms=at).frame) for at in (1000, 3500))
    assert abs((second - first).total_seconds() - 2.5) < 0.5


@pytest.mark.parametrize(
    ("source", "stem"),
    [("", "source"), ("..", "source"), ("cam1", "cam1"), ("../a b/ü", "a_b_ü"), (".x", "x")],
)
def test_file_stem(source: str, stem: str) -> None:
    assert file_stem(source) == stem


def test_a_result_is_drawn_once() -> None:
    annotate, result = Annotator(), make_result()
    image = annotate(result)
    assert not np.array_equal(image, result.frame.image)
    assert annotate(result) is image
    assert annotate(make_result()) is not image


def test_the_gate() -> None:
    gate = DetectionGate(1.0)
    assert not gate.admits(make_result(at_ms=0, found=NOTHING))
    moments = [0, 500, 999, 1000, 1500, 2100]
    assert [gate.admits(make_result(at_ms=at)) for at in moments] == [
        *(True, False, False, True, False, True)
    ]
    assert gate.admits(make_result("cam2", at_ms=2200))
    assert all(DetectionGate(0).admits(make_result(at_ms=at)) for at in (0, 0, 1))


def test_jsonl_of_live_results_is_added_to(tmp_path: Path) -> None:
    target = tmp_path / "new" / "out.jsonl"
    JsonlSink(target).close()
    assert target.read_bytes() == b""
    for index in range(2):
        sink = JsonlSink(target)
        sink.write(make_result(index=index))
        sink.close()
    lines = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [(line["schema"], line["index"]) for line in lines] == [
        (JSONL_SCHEMA, 0),
        (JSONL_SCHEMA, 1),
    ]


def test_a_line_that_was_cut_short_stays_the_only_one_lost(tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text('{"schema":1,"index":0}\n{"sch')
    sink = JsonlSink(target)
    sink.write(make_result(index=1))
    sink.close()
    first, broken, last = target.read_text(encoding="utf-8").splitlines()
    assert json.loads(first)["index"] == 0
    assert broken == '{"sch'
    assert json.loads(last)["index"] == 1
