"""The Markdown page: the same figures, and nothing of a stranger's becomes markup."""

from __future__ import annotations

import re

import pytest

from ghost_deploy.report.blocks import plain
from ghost_deploy.report.markdown import escaped, render_markdown
from ghost_deploy.report.page import make_page
from tests.support.report_documents import HOSTILE, make_report


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("onnx-fp32", "onnx-fp32"),
        ("a|b", "a\\|b"),
        ("<b>&amp;", "\\<b\\>&amp;amp;"),
        ("[x](http://e.example)", "\\[x\\](http\\://e.example)"),
        ("`a` *b* _c_ ~d~ #e @f", "\\`a\\` \\*b\\* \\_c\\_ \\~d\\~ \\#e &#64;f"),
    ],
)
def test_escaped(text: str, written: str) -> None:
    assert escaped(text) == written


def test_it_says_what_the_page_says() -> None:
    made = make_report()
    text = render_markdown(made)
    page = make_page(made)
    assert text.startswith("# ghost\n")
    assert f"**{escaped(page.headline.text)}**" in text
    for section in page.sections:
        assert f"## {escaped(plain(section.title))}" in text
    assert HOSTILE not in text
    assert "<img" not in re.sub(r"\\<", "", text)


def test_every_table_is_a_table() -> None:
    lines = render_markdown(make_report()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) > 30
    for line, above in zip(lines[1:], lines, strict=False):
        if line.startswith("|") and above.startswith("|"):
            bars = [len(re.findall(r"(?<!\\)\|", each)) for each in (line, above)]
            assert bars[0] == bars[1], line
