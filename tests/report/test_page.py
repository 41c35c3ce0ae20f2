"""The HTML page: every number traced, nothing of a stranger's comes alive, nothing is fetched."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from ghost_deploy.report.assemble import assemble
from ghost_deploy.report.html import render_html
from ghost_deploy.report.report_document import Report
from tests.support.page_tracing import cells, faults, parse
from tests.support.report_documents import HOSTILE, NAMES, USUAL, Run, make_report, material

MANY = (
    *USUAL,
    Run("ort", "fp32", ms=9.0, subject="plain", baseline=True, accuracy=None, parity=None),
    Run("openvino", "int8", form="openvino", ms=5.0, delta=-0.4, power=True),
    Run("trt", "fp16", ms=3.0, delta=0.02, batch=4, power=True),
    Run("runtime 9", "fp8 <b>", ms=31.0, parity=None, walks=False),
)


def plain(made: Report) -> Any:
    return json.loads(msgspec.json.encode(made))


def kept_in_a_bundle() -> Report:
    """Without samples, curves and images."""
    found = material()
    found.latency = [each.only(["ghost"]) for each in found.latency]
    found.accuracy = [each.thin() for each in found.accuracy]
    return assemble(found)


CASES = {
    "usual": make_report(),
    "one run": make_report(USUAL[:1]),
    "no images": make_report(images=0),
    "few samples": make_report(USUAL[:2], samples=4),
    "figures alone": kept_in_a_bundle(),
    "only accuracy": make_report(parity=False, latency=False),
    "only latency": make_report(parity=False, accuracy=False),
    "only parity": make_report(accuracy=False, latency=False),
    "only a bundle": make_report(parity=False, accuracy=False, latency=False),
    "nothing ran": make_report([Run(accuracy="skipped", parity="skipped", timed="skipped")]),
    "no walks": make_report([Run(walks=False), Run("openvino", walks=False, ms=9)]),
}


@pytest.mark.parametrize("name", CASES)
def test_every_number_is_in_the_document(name: str) -> None:
    made = CASES[name]
    page = render_html(made)
    assert faults(page, plain(made)) == []
    assert len(cells(parse(page))) > 5


def test_any_runtime_and_precision_is_shown() -> None:
    made = make_report([run for run in MANY if run.precision in ("fp32", "fp16", "bf16", "int8")])
    page = render_html(made)
    assert faults(page, plain(made)) == []
    for words in ("OpenVINO INT8", "TensorRT FP16", "onnx-int8-ort-x86", "plain: ONNX Runtime"):
        assert words in page, words
    assert "75.0 mJ" in page


def test_the_walk_sees_a_lie() -> None:
    made = make_report()
    page, document = render_html(made), plain(made)
    for pattern, lie in (
        (r"(>0\.61)23(<)", r"\g<1>24\2"),  # a figure
        (r"(<h2>All) runs", r"\1 1 run"),  # a number from nowhere
        (r"(data-px=\")(\d+)", r"\g<1>9\2"),  # a mark elsewhere
        (r"(data-width=\"0\.)", r"\g<1>9"),  # a bar too long
        (r"(points=\"[\d.]+,)", r"\g<1>9"),  # another curve
        (r"(class=\"box found\"[^>]* y=\"|class=\"box found\"[^>]* x=\")", r"\g<1>9"),
        (r"(data-json=\")/title", r"\1/titel"),
    ):
        changed = re.sub(pattern, lie, page)
        assert changed != page, pattern
        assert faults(changed, document) != [], pattern


def test_what_a_stranger_wrote_stays_text() -> None:
    page = render_html(make_report())
    root = parse(page)
    tags = {node.tag for node in root.walk()}
    assert tags.isdisjoint({"script", "iframe", "object", "embed", "link", "base", "form", "img"})
    for node in root.walk():
        assert not [name for name in node.attributes if name.startswith("on")]
        for name in ("src", "href", "action", "data", "xlink:href"):
            address = node.attributes.get(name, "#")
            assert address.startswith(("#", "data:image/jpeg;base64,")), address
    assert HOSTILE not in page
    assert root.text().count(HOSTILE) > 10
    for name in NAMES[:2]:
        assert name in root.text()


def test_marks_that_cannot_be_seen_are_replaced() -> None:
    names = ("a\u202eb", "c\x00\x1bd", "e\u200bf")
    page = render_html(make_report(names=names))
    assert not re.search("[\u202e\x00\x1b\u200b]", page)
    assert "a\ufffdb" in page


def test_the_page_forbids_itself_the_network() -> None:
    page = render_html(make_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert policy[1] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    style = page[page.index("<style>") : page.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_a_large_report_is_a_page_of_moderate_size() -> None:
    runs = [
        Run(runtime, precision, form=f"f{k}", ms=5 + k, delta=-0.01 * k)
        for k in range(3)
        for runtime in ("ort", "openvino")
        for precision in ("fp32", "fp16")
    ]
    made = make_report(runs, names=[f"class {k}" for k in range(80)], samples=4000, images=6)
    page = render_html(made)
    assert len(page) < 5_000_000
    assert faults(page, plain(made)) == []


def test_an_image_of_excessive_size_is_left_out() -> None:
    made = make_report()
    (accuracy,) = made.accuracy
    first = accuracy.hard_images[0]
    for jpeg in (b"\xff\xd8\xff" + bytes(1_000_000), b"<svg onload=alert(1)>", b""):
        changed = msgspec.structs.replace(
            accuracy, hard_images=(msgspec.structs.replace(first, jpeg=jpeg),)
        )
        page = render_html(msgspec.structs.replace(made, accuracy=(changed,)))
        assert "data:image" not in page
        assert 'class="no-image"' in page
