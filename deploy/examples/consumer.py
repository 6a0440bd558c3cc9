"""Print the incidents that are open now: `python consumer.py BOOTSTRAP TOPIC REGISTRY`, for example

pip install "confluent-kafka[avro,schemaregistry]"
python consumer.py 127.0.0.1:9092 freshet.incident-insights.v1 http://127.0.0.1:8081
"""

import sys
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

bootstrap, topic, registry = sys.argv[1:]
decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "open-incidents", "enable.partition.eof": True})
left = set(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in left])
newest: dict[str, dict[str, Any]] = {}  # by incident, its highest revision: copies and what came late fall away
while left:
    message = consumer.poll(10)
    fault = message.error() if message else KafkaError(KafkaError._TIMED_OUT)
    if message and fault and fault.code() == KafkaError._PARTITION_EOF:
        left.discard(message.partition())
    elif fault:
        sys.exit(f"{bootstrap}: {fault.str()}")
    elif message and message.value():
        insight = decode(message.value(), SerializationContext(topic, MessageField.VALUE))
        if insight["revision"] > newest.get(insight["id"], insight | {"revision": 0})["revision"]:
            newest[insight["id"]] = insight
consumer.close()
for found in sorted(newest.values(), key=lambda insight: insight["started"]):
    if found["state"] in ("opened", "updated"):
        sys.stdout.write(f"{found['started']:%Y-%m-%d %H:%M:%SZ} {found['severity']} {found['id']}: {found['title']}\n")
