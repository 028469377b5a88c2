"""The object store: whether it answers, and whether the worker may do there what it has to.

Nothing is left in a bucket: reading is tried on an object that does not exist, and writing with a condition
that no object meets. Rights are looked up before either is noticed, so the answers tell them apart.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from consumer.operate.doctor.check import Check
from consumer.settings import StoreSettings, WorkerSettings
from consumer.store.s3 import error_code, open_client

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

ABSENT_KEY = "whisper-consumer-doctor/no-such-object"
ABSENT_ETAG = '"00000000000000000000000000000000"'

_CREDENTIALS = {
    "InvalidAccessKeyId": "check MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "check MINIO_SECRET_KEY",
    "RequestTimeTooSkewed": "set this machine's clock",
}


async def check_store(settings: StoreSettings) -> list[Check]:
    """Whether the endpoint answers and knows the credentials."""
    name = "object store"
    async with open_client(settings) as client:
        try:
            await client.list_buckets()
        except ClientError as error:  # that this worker may not list all buckets is as it should be
            if advice := _CREDENTIALS.get(error_code(error)):
                return [Check(name, False, f"{settings.minio_endpoint} answered {error_code(error)}", advice)]
        except (BotoCoreError, OSError) as error:
            return [Check(name, False, str(error), "check MINIO_ENDPOINT and the network, and MINIO_CA_FILE for https")]
    return [Check(name, True, f"{settings.minio_endpoint} answers")]


async def check_buckets(settings: WorkerSettings) -> list[Check]:
    """Whether recordings can be read from each input bucket, and results written."""
    async with open_client(settings) as client:
        reading = [_check_readable(client, bucket) for bucket in settings.input_buckets]
        return await asyncio.gather(*reading, _check_writable(client, settings.results_bucket))


async def _check_readable(client: "S3Client", bucket: str) -> Check:
    answer = await _answer_to(client.get_object(Bucket=bucket, Key=ABSENT_KEY))
    advice = (
        "allow s3:GetObject on its objects; AWS also wants s3:ListBucket to tell a missing object from a hidden one"
    )
    return _judge(f"bucket {bucket}", answer, "recordings can be read", advice)


async def _check_writable(client: "S3Client", bucket: str) -> Check:
    # Asked first, since some stores look at the condition before the bucket; whoever may only write gets a 403.
    if await _answer_to(client.head_bucket(Bucket=bucket)) == "404":
        return _judge(f"bucket {bucket}", "NoSuchBucket", "", "")
    answer = await _answer_to(client.put_object(Bucket=bucket, Key=ABSENT_KEY, IfMatch=ABSENT_ETAG))
    return _judge(f"bucket {bucket}", answer, "results can be written", "allow s3:PutObject on its objects")


async def _answer_to(request: Awaitable[object]) -> str:
    """S3's error code, or what kept it from answering."""
    try:
        await request
    except ClientError as error:
        return error_code(error)
    except (BotoCoreError, OSError) as error:
        return str(error)
    return "OK"


def _judge(name: str, answer: str, good: str, advice: str) -> Check:
    if answer in ("NoSuchKey", "PreconditionFailed", "404", "412"):
        return Check(name, True, good)
    if answer == "NoSuchBucket":
        return Check(name, False, "there is no such bucket", "create it, or correct its name in the settings")
    if answer in ("AccessDenied", "403"):
        return Check(name, False, "access denied", advice)
    return Check(name, False, answer, _CREDENTIALS.get(answer, "see the check of the object store"))
