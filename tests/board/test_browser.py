"""The board alone, in a real Chromium: it opens once, runs no foreign script, fits a phone, can be read and operated.

Debian's Chromium is in `.ci/run` only. The tests skip, with the reason, where it is absent.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from pyramid_temporal_compat.board.alone import serving
from pyramid_temporal_compat.canvas import chain
from tests.observe.office import Office

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here (Debian: apt-get install chromium)")

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>"
LEAST_CONTRAST = 4.5
"""The ratio that WCAG 2 asks of text, level AA."""
WORST_CONTRAST = """() => {
  const channel = (value) => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const numbers = (colour) => colour.match(/[0-9.]+/g).map(Number);
  const paper = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, a = 1] = numbers(getComputedStyle(each).backgroundColor);
      if (a > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  let worst = [21, ""];
  for (const element of document.querySelectorAll("body *:not(svg *)")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length) continue;
    const pair = [light(numbers(getComputedStyle(element).color)), light(paper(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (ratio < worst[0]) worst = [ratio, element.outerHTML.slice(0, 120)];
  }
  return worst;
}"""


@pytest.fixture(scope="module")
def office(temporal_address: str) -> Iterator[Office]:
    found = Office(temporal_address, "browser")
    worker = found.worker()
    found.ended(
        found.fails.delay(ATTACK),
        found.add.delay(1),
        chain(found.add.s(1), found.fails.s(), found.add.s()).apply_async(),
    )
    found.listed(3)
    yield found
    worker.stop()
    found.app.close()


@pytest.fixture(scope="module")
def address(office: Office) -> Iterator[str]:
    server, url = serving(office.app, "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield url
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def context(address: str) -> Iterator[Any]:
    """A browser that has opened the board."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = chromium.new_context()
        page = context.new_page()
        page.goto(address)
        assert page.title().startswith("Overview")
        assert "token" not in page.url
        page.goto(address)
        assert "opens the board once" in page.content(), "the token is spent"
        page.close()
        yield context
        chromium.close()


@pytest.fixture
def page(context: Any) -> Iterator[Any]:
    """A page on which nothing may go wrong: no error, and no dialog that a foreign script opens."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(dialog.message), dialog.dismiss()))
    yield page
    page.close()
    assert wrong == []


def paths(office: Office) -> dict[str, str]:
    failed = office.rows(states=frozenset({"FAILURE"}), arguments="alert")[0].id
    chained = next(row.id for row in office.rows() if row.is_tree)
    return {
        "overview": "",
        "tasks": f"tasks?queue={office.queue}&members=1",
        "task": f"task?id={failed}",
        "canvas": f"task?id={chained}",
        "schedules": "schedules",
        "outbox": "outbox",
    }


@pytest.mark.parametrize("name", ["overview", "tasks", "task", "canvas", "schedules", "outbox"])
def test_page_fits_a_phone_and_can_be_read_in_light_and_dark(
    page: Any, address: str, office: Office, name: str
) -> None:
    base = address.partition("/?")[0] + "/ptemporal/"
    page.set_viewport_size({"width": 360, "height": 760})
    page.goto(base + paths(office)[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ratio, where = page.evaluate(WORST_CONTRAST)
        assert ratio >= LEAST_CONTRAST, f"{scheme}: {where}"


def test_keyboard_alone_opens_a_task_and_runs_it_anew(page: Any, address: str, office: Office) -> None:
    page.goto(address.partition("/?")[0] + "/ptemporal/" + paths(office)["task"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Run anew"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "run anew: 1 of 1" in page.locator("[role=status]").text_content()
    assert "-retry-1" in page.url


def test_list_refreshes_by_itself_and_leaves_chosen_rows_alone(page: Any, address: str, office: Office) -> None:
    page.clock.install()
    page.goto(f"{address.partition('/?')[0]}/ptemporal/tasks?queue={office.queue}&name={office.once.name}")
    assert page.locator("tbody tr").count() == 0
    office.ended(office.once.delay("fresh"))
    office.listed(1, name=office.once.name)
    page.clock.fast_forward(5000)
    page.wait_for_selector("tbody tr")
    page.locator("tbody input").check()
    office.ended(office.once.delay("later"))
    office.listed(2, name=office.once.name)
    page.clock.fast_forward(5000)
    assert page.locator("tbody tr").count() == 1, "a refresh would forget what was chosen"
