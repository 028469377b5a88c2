"""Values with schemas of a real registry, as Confluent's own serializers write them."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import AsyncSchemaRegistryClient, Schema, SchemaReference
from google.protobuf import json_format

from consumer.delivery.schema_registry import SchemaRegistry, registry_configuration
from consumer.errors import Rejected, Unavailable
from consumer.events.framed import AudioUploadedMessage
from consumer.operate.explain import explained, registry_reader, report
from consumer.operate.network import LOOPBACK, free_ports
from consumer.settings import RegistrySettings
from schemas.registered import protobuf
from tests.support.apicurio import ApicurioServer, registry_client, serialized

EVENT = {"bucket": "calls", "key": "ä.wav", "options": {"language": "en"}}


@pytest.fixture
async def client(schema_registry: ApicurioServer) -> AsyncIterator[AsyncSchemaRegistryClient]:
    async with registry_client(schema_registry) as client:
        yield client


@pytest.fixture
async def registry(schema_registry: ApicurioServer) -> AsyncIterator[SchemaRegistry]:
    registry = SchemaRegistry({"url": schema_registry.url}, timeout_seconds=10)
    yield registry
    await registry.close()


@pytest.mark.parametrize("kind", ["avro", "json", "protobuf"])
async def test_what_a_producer_writes_is_read(
    client: AsyncSchemaRegistryClient, registry: SchemaRegistry, kind: str
) -> None:
    value = await serialized(client, kind, EVENT, f"written-{kind}")
    for _ in range(2):
        found = json.loads(await registry.as_json(value) or b"")
        assert (found["bucket"], found["key"], found["options"]["language"]) == ("calls", "ä.wav", "en")


async def test_the_checked_in_protobuf_schema_is_one_for_the_registry(
    client: AsyncSchemaRegistryClient, registry: SchemaRegistry
) -> None:
    schema_id = await client.register_schema("text-value", Schema(protobuf(), "PROTOBUF"))
    payload = json_format.ParseDict(EVENT, AudioUploadedMessage()).SerializeToString()
    value = b"\x00" + schema_id.to_bytes(4, "big") + b"\x00" + payload
    assert json.loads(await registry.as_json(value) or b"") == EVENT


async def test_schemas_that_others_refer_to_are_asked_for_too(
    client: AsyncSchemaRegistryClient, registry: SchemaRegistry
) -> None:
    inner = {"type": "record", "name": "Inner", "namespace": "org", "fields": [{"name": "bucket", "type": "string"}]}
    outer = {"type": "record", "name": "Outer", "namespace": "org", "fields": [{"name": "detail", "type": "org.Inner"}]}
    await client.register_schema("inner", Schema(json.dumps(inner), "AVRO"))
    schema_id = await client.register_schema(
        "outer", Schema(json.dumps(outer), "AVRO", [SchemaReference("org.Inner", "inner", 1)])
    )
    value = b"\x00" + schema_id.to_bytes(4, "big") + b"\x0acalls"
    assert json.loads(await registry.as_json(value) or b"") == {"detail": {"bucket": "calls"}}


async def test_everything_else_is_left_as_it_is(registry: SchemaRegistry) -> None:
    assert await registry.as_json(None) is None
    assert await registry.as_json(b"{}") == b"{}"


async def test_a_schema_that_is_not_there_is_the_records_fault(registry: SchemaRegistry) -> None:
    with pytest.raises(Rejected, match="does not have schema 12345"):
        await registry.as_json(b"\x00" + (12345).to_bytes(4, "big") + b"x")


async def test_a_value_that_is_too_large_is_refused_unasked() -> None:
    nobody = SchemaRegistry({"url": f"http://{LOOPBACK}:1"}, timeout_seconds=1)
    with pytest.raises(Rejected, match="at most 65536 are read"):
        await nobody.as_json(b"\x00\x00\x00\x00\x01" + bytes(200_000))
    await nobody.close()


async def test_an_outage_is_one_and_is_over_when_the_registry_is_back(
    client: AsyncSchemaRegistryClient, schema_registry: ApicurioServer
) -> None:
    value = await serialized(client, "avro", EVENT, "outage")
    away = SchemaRegistry({"url": f"http://{LOOPBACK}:{free_ports(1)[0]}"}, timeout_seconds=5)
    with pytest.raises(Unavailable, match="does not answer") as outage:
        await away.as_json(value)
    assert outage.value.dependency == "registry"
    elsewhere = SchemaRegistry({"url": schema_registry.url.replace("ccompat", "nowhere")}, timeout_seconds=5)
    with pytest.raises(Unavailable, match="refuses schema"):
        await elsewhere.as_json(value)
    await away.close()
    await elsewhere.close()


async def test_explain_reads_it_as_a_worker_does(
    client: AsyncSchemaRegistryClient, schema_registry: ApicurioServer
) -> None:
    value = await serialized(client, "avro", EVENT, "explained")

    def shown(url: str) -> str:
        with registry_reader(RegistrySettings(schema_registry_url=url)) as as_json:
            return report(explained({}, None, value, as_json))

    text = await asyncio.to_thread(shown, schema_registry.url)
    assert text.startswith("taken for: value with a schema of the registry > ")
    assert "ä.wav" in text
    with pytest.raises(Unavailable, match="does not answer"):
        await asyncio.to_thread(shown, f"http://{LOOPBACK}:{free_ports(1)[0]}")


def test_credentials_and_certificates_come_from_the_settings(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    settings = RegistrySettings(
        schema_registry_url="https://registry/",
        schema_registry_username="worker",
        schema_registry_password="secret",
        schema_registry_ca_file=ca_file,
    )
    assert registry_configuration(settings) == {
        "url": "https://registry",
        "basic.auth.user.info": "worker:secret",
        "ssl.ca.location": str(ca_file),
    }
