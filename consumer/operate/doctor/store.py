"""The object store: whether it answers, and whether the worker may do there what it has to.

Nothing is left in a bucket: reading is tried on an object that does not exist, writing and deleting with a condition
that no object meets. Rights are looked up before either is noticed, so the answers tell them apart.
"""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from consumer.operate.doctor.check import Check
from consumer.settings import StoreSettings, WorkerSettings
from consumer.store.boto import open_client
from consumer.store.failures import error_code

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

CLOCK_SECONDS = 60.0
ABSENT_KEY = "whisper-consumer-doctor/no-such-object"
ABSENT_ETAG = '"00000000000000000000000000000000"'

_READING = "allow s3:GetObject on its objects; AWS also wants s3:ListBucket to tell a missing object from a hidden one"
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
            answer: Any = await client.list_buckets()
        except ClientError as error:  # that this worker may not list all buckets is as it should be
            answer = error.response
            if advice := _CREDENTIALS.get(error_code(error)):
                return [Check(name, False, f"{settings.minio_endpoint} answered {error_code(error)}", advice)]
        except (BotoCoreError, OSError) as error:
            return [Check(name, False, str(error), "check MINIO_ENDPOINT and the network, and MINIO_CA_FILE for https")]
    return [Check(name, True, f"{settings.minio_endpoint} answers"), *_check_clock(answer)]


def _check_clock(answer: Any) -> list[Check]:
    """This machine's clock against the store's, where that tells it."""
    told = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    if told is None:
        return []
    seconds = abs((datetime.now(UTC) - parsedate_to_datetime(told)).total_seconds())
    found = f"{seconds:.0f} s from the store's"
    if seconds <= CLOCK_SECONDS:
        return [Check("clock", True, found)]
    return [Check("clock", False, found, "set this machine's clock; more than 900 s, and S3 refuses its requests")]


async def check_buckets(settings: WorkerSettings) -> list[Check]:
    """Whether recordings can be read from each input bucket, and results and checkpoints kept."""
    async with open_client(settings) as client:
        reading = [_check_readable(client, bucket) for bucket in settings.input_buckets]
        announcing = [_check_announces(client, bucket) for bucket in settings.input_buckets]
        return await asyncio.gather(*reading, *announcing, _check_results(client, settings.results_bucket))


async def _check_readable(client: "S3Client", bucket: str) -> Check:
    answer = await _answer_to(client.get_object(Bucket=bucket, Key=ABSENT_KEY))
    return _judge(f"bucket {bucket}", answer, "recordings can be read", _READING)


async def _check_announces(client: "S3Client", bucket: str) -> Check:
    """Whether the bucket itself announces uploads; it is no fault if something else does."""
    name = f"notifications of {bucket}"
    try:
        found: Any = await client.get_bucket_notification_configuration(Bucket=bucket)
    except ClientError as error:
        return Check(name, None, f"not to be seen: {error_code(error)}", "allow s3:GetBucketNotification on the bucket")
    except (BotoCoreError, OSError) as error:
        return Check(name, None, str(error))
    kinds = ("QueueConfigurations", "TopicConfigurations", "LambdaFunctionConfigurations")
    events = [event for kind in kinds for each in found.get(kind, ()) for event in each["Events"]]
    if "EventBridgeConfiguration" in found or any(event.startswith("s3:ObjectCreated:") for event in events):
        return Check(name, True, "it announces new objects")
    advice = "unless something else sends the events: mc event add, or put-bucket-notification-configuration (README)"
    return Check(name, None, "it announces no new objects", advice)


async def _check_results(client: "S3Client", bucket: str) -> Check:
    name, good = f"bucket {bucket}", "results can be written, read and deleted"
    # Asked first, since some stores look at the condition before the bucket; whoever may only write gets a 403.
    if await _answer_to(client.head_bucket(Bucket=bucket)) == "404":
        return _judge(name, "NoSuchBucket", good, "")
    object_in: Any = {"Bucket": bucket, "Key": ABSENT_KEY}
    tried = [
        (client.put_object(**object_in, IfMatch=ABSENT_ETAG), "allow s3:PutObject on its objects"),
        (client.get_object(**object_in), _READING),
        (
            client.delete_object(**object_in, IfMatch=ABSENT_ETAG),
            "allow s3:DeleteObject on its objects, or checkpoints of recordings that are finished stay there",
        ),
    ]
    checks = [_judge(name, await _answer_to(request), good, advice) for request, advice in tried]
    return next((check for check in checks if not check.ok), checks[0])


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
    # A store that knows no conditions for it deletes what is not there, and is pleased.
    if answer in ("NoSuchKey", "PreconditionFailed", "404", "412", "OK"):
        return Check(name, True, good)
    if answer == "NoSuchBucket":
        return Check(name, False, "there is no such bucket", "create it, or correct its name in the settings")
    if answer in ("AccessDenied", "403"):
        return Check(name, False, "access denied", advice)
    return Check(name, False, answer, _CREDENTIALS.get(answer, "see the check of the object store"))
