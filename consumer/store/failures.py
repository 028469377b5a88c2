"""The one place where errors of the object store become decisions.

Whatever error a request leaves becomes Unavailable. What an error says of one object alone is for ``objects`` to judge,
before that.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError

from consumer.errors import Unavailable

BROKEN_OFF = (BotoCoreError, aiohttp.ClientError, TimeoutError, OSError)
"""What a request raises that got no answer, or no whole one."""

_FORBIDDEN = (
    "check MINIO_ACCESS_KEY and that its policy allows it (AWS answers so for a missing object, too, unless "
    "s3:ListBucket is allowed)"
)
_BUCKET = "create the bucket or correct its name"
_REGION = "check MINIO_REGION and MINIO_ENDPOINT: the bucket may be in another region"
_ADVICE = {
    "AccessDenied": _FORBIDDEN,
    "403": _FORBIDDEN,  # all that an answer to HEAD tells
    "404": _BUCKET,
    "NoSuchBucket": _BUCKET,
    "ExpiredToken": "renew the credentials",
    "InvalidAccessKeyId": "check MINIO_ACCESS_KEY",
    "SignatureDoesNotMatch": "check MINIO_SECRET_KEY",
    "RequestTimeTooSkewed": "check the clock of this machine",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "TemporaryRedirect": _REGION,
    "301": _REGION,
    "307": _REGION,
    "NotImplemented": "the store must know conditional writes (If-None-Match)",
}


@contextmanager
def outages(doing: str, endpoint_url: str) -> Iterator[None]:
    """Turn every error of the store into Unavailable. ``doing`` says what is tried, with bucket and key."""
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        message = error.response["Error"].get("Message") or "no message"
        why = f"{code}: {message}; {_ADVICE.get(code, 'it is tried again')}"
        raise _unavailable(doing, endpoint_url, why) from error
    except BROKEN_OFF as error:
        why = f"{str(error) or 'it took too long'}; check MINIO_ENDPOINT and the network, it is tried again"
        raise _unavailable(doing, endpoint_url, why) from error


def error_code(error: ClientError) -> str:
    """S3's error code (NoSuchKey, ...); the bare status where there was no body, as after HEAD."""
    return str(error.response["Error"].get("Code", ""))


def status(error: ClientError) -> int:
    """The HTTP status of the answer."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _unavailable(doing: str, endpoint_url: str, why: str) -> Unavailable:
    return Unavailable("store", f"{doing} at {endpoint_url} failed: {why}")
