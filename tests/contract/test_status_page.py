"""The status page in a real browser: live, for everybody, in light and dark, with and without JavaScript."""

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, expect

from consumer.errors import Reason
from consumer.status import StatusServer
from tests.support.chromium import Installed
from tests.support.status import Scene, scene

HOSTILE = '<img src=x onerror="document.title=1">.wav'


@pytest.fixture
def watched() -> Scene:
    return scene(with_text=True)


@pytest.fixture
async def url(watched: Scene) -> AsyncIterator[str]:
    server = StatusServer("127.0.0.1", 0, watched.watched, token=None)
    await server.start()
    yield server.url
    await server.close()


async def opened(browser: Browser, url: str, **how: object) -> Page:
    """A page on which nothing goes wrong: no error in its console, no request that fails."""
    page = await browser.new_page(**how)  # type: ignore[arg-type]  # what a test asks for
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(url)
    assert faults == []
    return page


async def test_it_follows_the_worker(browser: Browser, url: str, watched: Scene) -> None:
    page = await opened(browser, url)
    in_flight, recent = page.locator("#in-flight"), page.locator("#recent")
    await expect(in_flight).to_have_text("none")
    with watched.activity.recording("calls", HOSTILE, "in-0-7") as shown:
        shown.lasts(60.0, None, 1)
        shown.progressed(15.0, 0.0, "four score")
        await expect(in_flight.get_by_role("cell", name=HOSTILE)).to_contain_text("four score")
        await expect(in_flight.get_by_role("progressbar")).to_have_attribute("value", "0.250")
        shown.progressed(45.0, 0.0, "and seven")
        await expect(in_flight.get_by_role("progressbar")).to_have_attribute("value", "0.750")
    await expect(recent).to_contain_text("transcribed")
    await expect(in_flight).to_have_text("none")
    assert await page.title() == "whisper-consumer on host-1"


async def test_updates_stop_and_go_on_by_the_keyboard(browser: Browser, url: str, watched: Scene) -> None:
    page = await opened(browser, url)
    button, live = page.get_by_role("button", name="Pause updates"), page.get_by_role("status")
    await expect(live).to_have_text("live")
    await page.keyboard.press("Tab")
    await expect(button).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(button).to_have_attribute("aria-pressed", "true")
    await expect(live).to_have_text("paused")
    watched.metrics.dead_letters.labels(Reason.MISSING).inc()
    await page.keyboard.press("Space")
    await expect(live).to_have_text("live")
    await expect(page.locator("#dead-letters")).to_contain_text("missing")


async def test_without_javascript_it_is_a_plain_page(browser: Browser, url: str, watched: Scene) -> None:
    with watched.activity.recording("calls", "a.wav", "in-0-7"):
        page = await opened(browser, url, java_script_enabled=False)
    await expect(page.get_by_role("table", name="Recordings in flight")).to_contain_text("calls/a.wav")
    await expect(page.get_by_role("button")).to_have_count(0)
    await page.get_by_role("link", name="Look again").click()
    await expect(page.get_by_role("table", name="Recordings finished last")).to_contain_text("calls/a.wav")


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_it_is_fit_for_everybody(
    browser: Browser, chromium: Installed, url: str, watched: Scene, colours: str, width: int
) -> None:
    watched.metrics.dead_letters.labels(Reason.MISSING).inc()
    with watched.activity.recording("calls", "b.wav", "in-0-8"):
        pass
    with watched.activity.recording("calls", "a.wav", "in-0-7") as shown:
        shown.lasts(60.0, None, 1)
        shown.progressed(15.0, 0.0, "four score")
        page = await opened(
            browser, url, color_scheme=colours, viewport={"width": width, "height": 800}, bypass_csp=True
        )
        await page.evaluate(chromium.axe)
        found = await page.evaluate("axe.run()")
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
    assert len(found["passes"]) > 10
