"""The page in a real browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ghost_deploy.stream.source_stats import SourceStats
from ghost_deploy.stream.web.web_view import WebViewSink
from tests.stream.test_web_parts import CARD
from tests.support.browser import needs_browser, opened, screen
from tests.support.stream_results import FakeStats, make_result

selenium = pytest.importorskip("selenium")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import WebDriverException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

pytestmark = needs_browser

TOKEN = "correct-horse-battery"
# The mean grey of the middle of the image, as the browser shows it; -1 before the first.
SHADE = """
const image = document.querySelector("[data-source=cam1] img");
if (!image || !image.naturalWidth) return -1;
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const context = canvas.getContext("2d");
context.drawImage(image, 44, 42, 4, 4, 0, 0, 1, 1);
return context.getImageData(0, 0, 1, 1).data[0];
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with opened(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


class Run:
    """A view that results are fed into from a thread, as a pipeline does it."""

    def __init__(self, view: WebViewSink, stats: FakeStats) -> None:
        self.view, self.stats = view, stats
        self.shade = 40
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._feed)
        self._thread.start()

    def _feed(self) -> None:
        index = 0
        while not self._over.wait(0.05):
            index += 1
            self.view.write(make_result(index=index, shade=self.shade, age_ms=25.0))
            first, *others = self.stats.sources
            first = replace(first, captured=2 * index, processed=index, dropped={"newer": index})
            self.stats.sources = (
                replace(first, age_p50_ms=25.0, age_p99_ms=26.0, size_hw=(48, 64)),
                *others,
            )

    def end(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def running(token: str | None = None) -> Iterator[Run]:
    stats = FakeStats((SourceStats("cam1", "rtsp://***@<b>host</b>/1", "live"),))
    view = WebViewSink("127.0.0.1:0", CARD, token=token, stats=stats)
    run = Run(view, stats)
    try:
        yield run
    finally:
        run.end()
        view.close()


def until(browser: webdriver.Chrome, condition: Any) -> None:
    # A page that is being replaced has elements that are gone a moment later, which the driver says
    # in several ways.
    wait = WebDriverWait(browser, 30, 0.05, [WebDriverException])
    wait.until(condition)


def text(browser: webdriver.Chrome, selector: str) -> str:
    found = browser.find_elements(By.CSS_SELECTOR, selector)
    return found[0].get_property("textContent") if found else ""  # type: ignore[return-value]


def number(browser: webdriver.Chrome, selector: str) -> int:
    return int(text(browser, selector).replace(",", "") or -1)


def test_images_change_and_counters_move(browser: webdriver.Chrome) -> None:
    with running() as run:
        browser.get(run.view.url)
        until(browser, lambda b: abs(b.execute_script(SHADE) - 40) < 6)
        run.shade = 220
        until(browser, lambda b: abs(b.execute_script(SHADE) - 220) < 6)
        for selector in (
            "[data-figure=processed]",
            "[data-figure=dropped]",
            ".classes td + td + td",
        ):
            until(browser, lambda b, s=selector: number(b, s) > 0)
            before = number(browser, selector)
            until(browser, lambda b, s=selector, n=before: number(b, s) > n)
        assert text(browser, "#health") == "ok"
        assert text(browser, ".label") == "rtsp://***@<b>host</b>/1"
        assert 'a "model"' in text(browser, "#model")
        assert "fp32" in text(browser, "#model")
        assert {
            row.text for row in browser.find_elements(By.CSS_SELECTOR, ".classes td:first-child")
        } == {
            "cat",
            "dög",
        }
        until(browser, lambda b: len(b.find_elements(By.CSS_SELECTOR, ".chart path.line")) == 5)
        assert "25.0 ms" in text(browser, ".chart figcaption")
        assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_what_is_lost_is_shown_as_lost(browser: webdriver.Chrome) -> None:
    with running() as run:
        run.stats.sources += (
            SourceStats("cam2", "b", "lost", last_frame_age_ms=65_000.0, last_error="refused"),
            SourceStats("cam3", "c", "connecting"),
        )
        browser.get(run.view.url)
        until(browser, lambda b: text(b, "[data-source=cam2] .notice"))
        assert text(browser, "[data-source=cam2] .notice") == "refused · last frame 1 min 5 s ago"
        assert text(browser, "[data-source=cam3] .notice") == "no frame yet"
        stale = browser.find_elements(By.CSS_SELECTOR, ".card.stale")
        assert [card.get_attribute("data-source") for card in stale] == ["cam2", "cam3"]
        assert text(browser, "#health") == "degraded"
    until(browser, lambda b: text(b, "#health") == "offline")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".card.stale")) == 3


@pytest.mark.parametrize("width", [320, 1400])
def test_it_fits_the_screen(browser: webdriver.Chrome, width: int) -> None:
    with running() as run, screen(browser, width):
        browser.get(run.view.url)
        until(browser, lambda b: b.find_elements(By.CSS_SELECTOR, ".chart path.line"))
        # Wider than the screen would be scrolled sideways.
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def test_the_token_opens_the_view(browser: webdriver.Chrome) -> None:
    with running(TOKEN) as run:
        browser.get(run.view.url)
        browser.find_element(By.ID, "token").send_keys("wrong\n")
        until(browser, lambda b: b.find_element(By.ID, "wrong").is_displayed())
        browser.find_element(By.ID, "token").send_keys(f"{TOKEN}\n")
        until(browser, lambda b: abs(b.execute_script(SHADE) - 40) < 6)
        assert TOKEN not in browser.current_url
