"""Two hours of speech, joined from the corpus, and how its transcript is read."""

import hashlib

from schemas import Transcript
from tests.support.kafka_clients import Message
from tests.support.speech import corpus_set, write_long_recording
from tests.support.stack import CORPUS_DIR, Stack
from tests.support.worker import completed

SECONDS = 2 * 3600
BUCKET = "calls"


async def upload(stack: Stack, *keys: str) -> str:
    """Put the recording into ``BUCKET`` under these keys; returns its text."""
    path = stack.directory / "long.wav"
    text = " ".join(write_long_recording(path, corpus_set(CORPUS_DIR, "lsother"), SECONDS))
    for bucket in (BUCKET, "transcripts"):
        await stack.s3.create_bucket(Bucket=bucket)
    for key in keys:
        with path.open("rb") as file:
            await stack.s3.put_object(Bucket=BUCKET, Key=key, Body=file)
    return text


async def referenced(stack: Stack, message: Message) -> Transcript:
    """Two hours with words are too large for the topic: the event refers to the bucket."""
    reference = completed(message).data.reference
    assert reference is not None
    answer = await stack.s3.get_object(Bucket=reference.bucket, Key=reference.key)
    async with answer["Body"] as body:
        stored = await body.read()
    assert hashlib.sha256(stored).hexdigest() == reference.sha256
    return Transcript.model_validate_json(stored)
