"""The page in a real browser: it fits, it follows the theme, it fetches and runs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ghost_deploy.report.html import render_html
from tests.support.browser import needs_browser, opened, screen
from tests.support.report_documents import HOSTILE, USUAL
from tests.support.report_int8_documents import int8_document, report_with_int8

selenium = pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402

pytestmark = needs_browser

WIDEST = "return document.documentElement.scrollWidth"
FETCHED = "return performance.getEntriesByType('resource').map(e => e.name)"
# Contrast of a text with the ground behind it, by WCAG 2.2; the least over all cells.
CONTRAST = """
const curve = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const level = (c) => curve(c / 255);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const luma = ([r, g, b]) => .2126 * level(r) + .7152 * level(g) + .0722 * level(b);
const ground = (node) => { for (; node; node = node.parentElement) {
  const c = parse(getComputedStyle(node).backgroundColor);
  if (c.length < 4 || c[3] > 0) return c; } return [255, 255, 255]; };
let least = 99;
for (const node of document.querySelectorAll("data, h2, td, th, dt, .part b, .tick, svg text")) {
  if (!node.textContent.trim() || node.closest(".image") || !node.checkVisibility()) continue;
  const style = getComputedStyle(node), svg = node.closest("svg");
  const ink = parse(svg ? style.fill : style.color);
  const behind = ground(svg ? svg.parentElement : node);
  const [a, b] = [luma(ink), luma(behind)].sort((x, y) => y - x);
  least = Math.min(least, (a + .05) / (b + .05));
}
return least;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render_html(report_with_int8(int8_document(), *USUAL)), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_it_fits_and_can_be_read(
    browser: webdriver.Chrome, page: str, width: int, theme: str
) -> None:
    with screen(browser, width, prefers_color_scheme=theme):
        browser.get(page)
        assert browser.execute_script(WIDEST) <= width
        assert browser.execute_script(CONTRAST) >= 4.5
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) > 380) == (theme == "light")
        charts = browser.find_elements(By.CSS_SELECTOR, ".only-wide, .only-narrow")
        assert [chart.is_displayed() for chart in charts] == 2 * [width > 700, width < 700]


def test_it_runs_nothing_and_fetches_nothing(browser: webdriver.Chrome, page: str) -> None:
    browser.get(page)
    assert browser.execute_script("return document.scripts.length") == 0
    assert browser.execute_script(FETCHED) == []
    assert browser.get_log("browser") == []
    names = [each.text for each in browser.find_elements(By.CSS_SELECTOR, ".multiple b")]
    assert HOSTILE in names


def test_images_are_shown_side_by_side(browser: webdriver.Chrome, page: str) -> None:
    with screen(browser, 1400):
        browser.get(page)
        left, right, *_ = browser.find_elements(By.CSS_SELECTOR, ".image svg")
        assert left.rect["y"] == right.rect["y"]
        assert left.rect["width"] == pytest.approx(right.rect["width"], abs=1)
        assert left.rect["height"] > 100
        # The second panel shows the image of the first, which is stored once.
        used = right.find_element(By.CSS_SELECTOR, "use").get_attribute("href")
        assert used == "#" + left.find_element(By.CSS_SELECTOR, "image").get_attribute("id")


def test_on_paper_everything_is_open(browser: webdriver.Chrome, page: str) -> None:
    browser.get(page)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        hidden = browser.find_elements(By.CSS_SELECTOR, "details td")
        assert hidden
        assert all(cell.rect["height"] > 0 for cell in hidden)
        assert not browser.find_element(By.CSS_SELECTOR, "nav").is_displayed()
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(255, 255, 255)"
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
