"""``python -m tests.support.screenshots``: the pictures of the README, of a real worker at work."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
from playwright.async_api import expect

from consumer.operate.network import LOOPBACK, free_ports
from tests.support.built import prebuilt_artifacts
from tests.support.cache import CACHE_DIR
from tests.support.chromium import ensure_chromium, running_chromium
from tests.support.speech import samples_of, write_wav
from tests.support.stack import running_stack
from tests.support.worker import deploy

REPOSITORY = Path(__file__).resolve().parents[2]
SAMPLE = REPOSITORY / "consumer" / "operate" / "sample" / "jfk.wav"
BUCKET = "recordings"
REPEATS = {"meetings/monday.wav": 120, "calls/0042.wav": 1, "calls/0043.wav": 8, "calls/0044.wav": 30}


async def main() -> None:
    """Upload some recordings and take the picture while the longest are being transcribed."""
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(running_stack())
        await running.s3.create_bucket(Bucket=BUCKET)
        for key, repeats in REPEATS.items():
            body = write_wav(running.directory / "upload.wav", np.tile(samples_of(SAMPLE), repeats)).read_bytes()
            await running.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        await running.s3.put_object(Bucket=BUCKET, Key="calls/notes.txt", Body=b"no recording")
        port = free_ports(1)[0]
        artifacts = prebuilt_artifacts()
        deployment = await deploy(
            running.clients, running.store, artifacts, running.directory, buckets=(BUCKET,), WHISPER_MODEL_SIZE="base"
        )
        await stack.enter_async_context(deployment.worker(STATUS_PORT=str(port)))
        for key in ("calls/notes.txt", *REPEATS):
            await deployment.announce(BUCKET, key)
        browser = await stack.enter_async_context(running_chromium(ensure_chromium(CACHE_DIR)))
        page = await browser.new_page(viewport={"width": 1000, "height": 600}, color_scheme="light")
        await page.goto(f"http://{LOOPBACK}:{port}/")
        await expect(page.locator("#recent")).to_contain_text("0043", timeout=120_000)
        await page.screenshot(path=REPOSITORY / "docs" / "status-page.png", full_page=True)


if __name__ == "__main__":
    asyncio.run(main())
