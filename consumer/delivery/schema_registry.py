"""Values of the input topic that a schema registry describes, turned into the JSON that says the same.

Nothing after this knows of it. A schema is asked for once; an outage of the registry is waited for like any other.
Needs confluent-kafka, for its client of registries, and what ``events.framed`` needs.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema
from confluent_kafka.schema_registry.error import SchemaRegistryError

from consumer.errors import Unavailable
from consumer.events.framed import (
    MAX_VALUE_BYTES,
    Reader,
    as_json,
    avro_reader,
    framed,
    json_reader,
    protobuf_reader,
)
from consumer.events.parsed import bad_event
from consumer.settings import RegistrySettings

AVRO: Final = "AVRO"
SCHEMA_NOT_FOUND: Final = 40403
MAX_READERS: Final = 1000
MAX_REFERENCES: Final = 100


class SchemaRegistry:
    """Reads values with the schemas of a Confluent-compatible registry."""

    def __init__(self, configuration: Mapping[str, Any], *, timeout_seconds: float) -> None:
        """``configuration`` is that of confluent-kafka's client. Raises ValueError where that makes no sense."""
        # Outages are waited for here, and told of: the client need not repeat anything by itself.
        self._client = AsyncSchemaRegistryClient({"max.retries": 0, "timeout": timeout_seconds, **configuration})
        self._timeout_seconds = timeout_seconds
        self._readers: dict[int, Reader] = {}

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def as_json(self, value: bytes | None) -> bytes | None:
        """A value in the registry's format as JSON, any other as it is.

        Raises Rejected(BAD_EVENT, PARSE), Unavailable: ``registry``.
        """
        found = framed(value) if value is not None else None
        if found is None:
            return value
        if len(found.payload) > MAX_VALUE_BYTES:
            raise bad_event(f"a value of {len(found.payload)} bytes with a schema; at most {MAX_VALUE_BYTES} are read")
        reader = self._readers.get(found.schema_id)
        if reader is None:
            reader = await self._reader(found.schema_id)
            if len(self._readers) >= MAX_READERS:
                self._readers.clear()
            self._readers[found.schema_id] = reader
        return as_json(reader(found.payload))

    async def probe(self) -> None:
        """Ask it for something that it has in any state. Raises Unavailable: ``registry``."""
        async with self._asking("its subjects"):
            await self._client.get_subjects()

    @asynccontextmanager
    async def _asking(self, what: str) -> AsyncIterator[None]:
        """Around requests to it. Raises Rejected where it has no such schema, Unavailable where it does not answer."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                yield
        except SchemaRegistryError as error:
            if error.error_code == SCHEMA_NOT_FOUND:
                raise bad_event(f"the schema registry does not have {what}, which the value names") from error
            raise Unavailable("registry", f"the schema registry refuses {what}: {error}") from error
        except Exception as error:  # the client lets its HTTP library's errors out as they are
            why = str(error) or type(error).__name__
            raise Unavailable("registry", f"the schema registry does not answer: {why}") from error

    async def _reader(self, schema_id: int) -> Reader:
        """What reads values of a schema. Raises Rejected where the registry has none such, or nothing can read it."""
        async with self._asking(f"schema {schema_id}"):
            schema = await self._client.get_schema(schema_id)
            referenced = await self._referenced(schema, set()) if schema.schema_type == AVRO else []
        text = schema.schema_str or ""
        if schema.schema_type == AVRO:
            return avro_reader(text, referenced)
        if schema.schema_type == "PROTOBUF":
            return protobuf_reader(text)
        if schema.schema_type == "JSON":
            return json_reader
        raise bad_event(f"schemas of type {schema.schema_type!r} are not understood; expected AVRO, PROTOBUF or JSON")

    async def _referenced(self, schema: Schema, seen: set[tuple[str, int]]) -> list[str]:
        """The schemas that one refers to, innermost first."""
        texts: list[str] = []
        for reference in schema.references or ():
            where = (str(reference.subject), int(reference.version or -1))
            if where not in seen and len(seen) < MAX_REFERENCES:
                seen.add(where)
                inner = (await self._client.get_version(*where, deleted=True)).schema
                texts += [*await self._referenced(inner, seen), inner.schema_str or ""]
        return texts


def registry_of(settings: RegistrySettings) -> SchemaRegistry:
    """The registry of the settings."""
    return SchemaRegistry(registry_configuration(settings), timeout_seconds=settings.schema_registry_timeout_seconds)


def registry_configuration(settings: RegistrySettings) -> dict[str, Any]:
    """The client's configuration: address, credentials, TLS."""
    configuration: dict[str, Any] = {"url": settings.schema_registry_url}
    if settings.schema_registry_username is not None and settings.schema_registry_password is not None:
        password = settings.schema_registry_password.get_secret_value()
        configuration["basic.auth.user.info"] = f"{settings.schema_registry_username}:{password}"
    if settings.schema_registry_ca_file is not None:
        configuration["ssl.ca.location"] = str(settings.schema_registry_ca_file)
    return configuration
