"""The status page of a real worker at work, in a real browser."""

import json
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from playwright.async_api import Browser, expect
from types_aiobotocore_s3 import S3Client

from consumer.operate.network import LOOPBACK, free_ports
from consumer.operate.seaweed_server import SeaweedServer
from tests.support.kafka_clients import KafkaClients
from tests.support.s3 import new_bucket
from tests.support.speech import samples_of, write_wav
from tests.support.worker import deploy


@pytest.mark.parametrize("shows_text", [False, True])
async def test_a_recording_is_seen_in_flight_and_finished(
    clients: KafkaClients,
    s3: SeaweedServer,
    store: S3Client,
    artifacts_dir: Path,
    sample: Path,
    tmp_path: Path,
    browser: Browser,
    shows_text: bool,
) -> None:
    bucket, port = await new_bucket(store), free_ports(1)[0]
    deployment = await deploy(clients, s3, artifacts_dir, tmp_path, buckets=(bucket,))
    long = write_wav(tmp_path / "long.wav", np.tile(samples_of(sample), 40))
    await store.put_object(Bucket=bucket, Key="calls/long.wav", Body=long.read_bytes())
    await store.put_object(Bucket=bucket, Key="calls/none.wav", Body=b"no recording")
    settings = {"STATUS_PORT": str(port), "STATUS_PAGE_TEXT": str(shows_text), "CHECKPOINT_AUDIO_SECONDS": "30"}
    async with deployment.worker(**settings):
        page = await browser.new_page(viewport={"width": 1100, "height": 800})
        await page.goto(f"http://{LOOPBACK}:{port}/")
        await expect(page.locator("#state")).to_contain_text("Well: running")
        await expect(page.locator("#engine")).to_contain_text("tiny.en")
        for key in ("calls/none.wav", "calls/long.wav"):
            await deployment.announce(bucket, key)
        in_flight = page.locator("#in-flight")
        await expect(in_flight).to_contain_text("×", timeout=30_000)  # so fast, by its first windows
        await expect(in_flight).to_contain_text("7:20")
        await page.screenshot(path=tmp_path / "status.png", full_page=True)
        await expect(page.locator("#recent")).to_contain_text("transcribed", timeout=120_000)
        await expect(page.locator("#dead-letters")).to_contain_text("not_audio")
        assert ("country" in await page.locator("#recent").inner_text()) is shows_text
        async with aiohttp.ClientSession() as session, session.get(f"http://{LOOPBACK}:{port}/status") as answer:
            status = json.loads(await answer.read())
        assert [each["partition"] for each in status["consumerGroup"]["partitions"]] == [0]
        assert status["audio"]["finishedSeconds"] == pytest.approx(440, abs=1)
        assert ("country" in json.dumps(status)) is shows_text
