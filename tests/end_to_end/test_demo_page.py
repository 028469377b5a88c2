"""The demo's page in a real browser, with everything that the demo starts behind it."""

import re
import signal
import sys
from pathlib import Path

import av
import numpy as np
from playwright.async_api import Browser, Page, expect

from consumer.operate.process import ChildProcess
from tests.support.chromium import Installed
from tests.support.speech import samples_of, write_wav

TIMEOUT_SECONDS = 120.0
TIMEOUT_MS = 60_000
DROP = """([name, bytes]) => {
  const files = new DataTransfer();
  files.items.add(new File([Uint8Array.from(bytes)], name));
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
}"""


async def started(process: ChildProcess) -> str:
    """The page's address, once everything runs."""

    async def stays() -> bool:
        return "Ctrl-C ends it" in process.log_tail(lines=1000)

    await process.wait_until_ready(stays, timeout_seconds=TIMEOUT_SECONDS)
    (url,) = re.findall(r"Drop your own recordings on (\S+)", process.log_tail(lines=1000))
    return str(url)


async def test_recordings_are_dropped_followed_read_and_played(
    artifacts_dir: Path, sample: Path, tmp_path: Path, browser: Browser, chromium: Installed
) -> None:
    command = [sys.executable, "-m", "consumer", "demo", "--stay", "--size", "tiny.en", str(sample)]
    demo = ChildProcess.start("the demo", command, log_path=tmp_path / "log")
    try:
        page = await opened(browser, await started(demo))
        await expect(page.get_by_role("listitem").filter(has_text="jfk.wav")).to_contain_text("11.0 s · en")
        await a_long_one_is_followed_as_it_is_transcribed(page, sample, tmp_path)
        await a_dropped_one_is_played_with_its_words(page, sample)
        await its_transcript_is_downloaded(page)
        await it_is_fit_for_everybody(page, chromium, tmp_path)
        await what_the_browser_cannot_play_has_its_transcript(page, sample, tmp_path)
        await what_is_no_recording_is_refused_with_the_reason(page)
        demo.send_signal(signal.SIGINT)
        assert await demo.wait(timeout_seconds=TIMEOUT_SECONDS) == 0
        await expect(page.locator("#live")).to_contain_text("does not answer")
    finally:
        demo.stop(grace_seconds=0)


async def opened(browser: Browser, url: str) -> Page:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, bypass_csp=False)
    page = await context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    await page.goto(url)
    await expect(page.locator("#live")).to_have_text("live")
    return page


async def a_long_one_is_followed_as_it_is_transcribed(page: Page, sample: Path, tmp_path: Path) -> None:
    long = write_wav(tmp_path / "long.wav", np.tile(samples_of(sample), 40))
    await page.get_by_label("choose files").set_input_files(long)
    await expect(page.get_by_role("heading", name="long.wav")).to_be_visible(timeout=TIMEOUT_MS)
    text = page.get_by_role("group", name="Transcript")
    await expect(page.get_by_role("progressbar", name="Share transcribed")).to_be_visible(timeout=TIMEOUT_MS)
    await expect(text).to_contain_text("country", timeout=TIMEOUT_MS)
    await expect(page.locator("#state")).to_contain_text("transcribing")
    await page.screenshot(path=tmp_path / "progress.png", full_page=True)
    await expect(page.get_by_role("link", name="SRT")).to_be_visible(timeout=TIMEOUT_MS)


async def a_dropped_one_is_played_with_its_words(page: Page, sample: Path) -> None:
    await page.evaluate(DROP, ["speech <b>.wav", list(sample.read_bytes())])
    await expect(page.get_by_role("heading", name="speech <b>.wav")).to_be_visible(timeout=TIMEOUT_MS)
    words = page.locator("#text .word")
    await expect(words.first).to_have_text("And", timeout=TIMEOUT_MS)
    assert await words.count() > 15
    await words.first.focus()
    await page.keyboard.press("End")
    await expect(words.last).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await page.keyboard.press("Enter")
    await expect(page.locator("#text .lit")).not_to_have_text("And", timeout=TIMEOUT_MS)
    assert await page.evaluate("audio.currentTime") > 5
    await words.first.click()
    await expect(page.locator("#text .lit")).to_have_text(re.compile("fellow|Americans"), timeout=TIMEOUT_MS)


async def its_transcript_is_downloaded(page: Page) -> None:
    beginnings = {"SRT": "1\n00:00:0", "WebVTT": "WEBVTT\n\n00:00:0", "Text": "And so", "JSON": '{"transcriptId":'}
    for name, beginning in beginnings.items():
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name=name, exact=True).click()
        download = await downloading.value
        content = (await download.path()).read_text(encoding="utf-8")
        assert content.startswith(beginning), name
        if name == "SRT":
            assert re.fullmatch(r"(\d+\n[\d:,]+ --> [\d:,]+\n.+\n(.+\n)?\n?)+", content)


async def it_is_fit_for_everybody(page: Page, chromium: Installed, directory: Path) -> None:
    for colours in ("light", "dark"):
        for width in (360, 1280):
            await page.emulate_media(color_scheme="dark" if colours == "dark" else "light", reduced_motion="reduce")
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=directory / f"{colours}-{width}.png", full_page=True)
            found = await page.evaluate(f"() => {{ {chromium.axe}; return axe.run(); }}")
            assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == [], (colours, width)
            assert len(found["passes"]) > 10
            assert await page.evaluate("document.documentElement.scrollWidth") <= width


async def what_the_browser_cannot_play_has_its_transcript(page: Page, sample: Path, directory: Path) -> None:
    path = directory / "speech.aiff"
    with av.open(str(sample)) as source, av.open(str(path), "w", format="aiff") as target:
        stream = target.add_stream("pcm_s16be", rate=16000, layout="mono")
        for frame in source.decode(audio=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    await page.get_by_label("choose files").set_input_files(path)
    await expect(page.locator("#unplayable")).to_contain_text("cannot play", timeout=TIMEOUT_MS)
    await expect(page.locator("#text")).to_contain_text("your country")
    await expect(page.locator("#audio")).to_be_hidden()


async def what_is_no_recording_is_refused_with_the_reason(page: Page) -> None:
    await page.evaluate(DROP, ["notes.txt", list(b"nothing to hear")])
    await expect(page.locator("#state")).to_contain_text("Not transcribed", timeout=TIMEOUT_MS)
    await expect(page.locator("#state")).to_contain_text("(not_audio)")
    await expect(page.get_by_role("listitem").filter(has_text="notes.txt")).to_contain_text("not transcribed")
    await expect(page.get_by_role("link", name="SRT")).to_be_hidden()
