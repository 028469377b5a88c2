"""Committed offsets while a group's coordinator moves. On real brokers."""

from pathlib import Path

import aiokafka
from aiokafka.structs import OffsetAndMetadata

from consumer.delivery.committed import fetch_committed
from consumer.operate.kafka_server import KafkaServer
from tests.support.kafka_clients import kafka_clients


async def test_a_broker_that_does_not_coordinate_the_group_is_not_believed(
    kafka_jars: list[Path], tmp_path: Path
) -> None:
    """It answers with an error for the whole and with no partition: not the same as "nothing was committed"."""
    async with (
        KafkaServer(data_dir=tmp_path / "kafka", jars=kafka_jars, brokers=2) as cluster,
        kafka_clients(cluster.bootstrap_servers) as clients,
    ):
        topic = await clients.create_topic("audio.uploaded", partitions=2)
        read, never_read = aiokafka.TopicPartition(topic, 0), aiokafka.TopicPartition(topic, 1)
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=cluster.bootstrap_servers, group_id="group", enable_auto_commit=False
        )
        await consumer.start()
        try:
            consumer.assign([read, never_read])
            await consumer.commit({read: OffsetAndMetadata(7, "seven")})
            coordinator = consumer._coordinator
            (coordinator.coordinator_id,) = {1, 2} - {coordinator.coordinator_id}
            committed = await fetch_committed(coordinator, [read, never_read])
        finally:
            await consumer.stop()
    assert committed == {read: OffsetAndMetadata(7, "seven"), never_read: None}
