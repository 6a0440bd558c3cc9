"""Kafka: one KRaft node that is broker and controller."""

from dataclasses import replace
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.local import artifacts
from deploy.local.processes import Command
from deploy.local.service import Service, Site, accepts

CLUSTER_ID: Final = "ZnJlc2hldC1sb2NhbC0wMQ"  # base64 of sixteen bytes: freshet-local-01
MAX_MESSAGE_BYTES: Final = 16_777_216  # a 10 MB line must pass
PROPERTIES: Final = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={disk}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=2097152
message.max.bytes={message}
replica.fetch.max.bytes={message}
replica.fetch.response.max.bytes={message}
# A killed broker may come back only when its old session has ended (9 s by default).
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=500
# Recorded telemetry of past years must not vanish: record times, not the clock, would decide.
log.retention.ms=-1
"""
LOGGING: Final = """\
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{ISO8601} %-5p %c{1} %m%n
"""


def _commands(site: Site) -> list[Command]:
    java, home = site.java(), site.install(artifacts.KAFKA)
    site.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk, settings, logging = (site.folder / name for name in ("disk", "server.properties", "log4j2.properties"))
    port, controller = site.ports["client"], site.ports["controller"]
    settings.write_text(PROPERTIES.format(port=port, controller=controller, disk=disk, message=MAX_MESSAGE_BYTES))
    logging.write_text(LOGGING)
    run = [java.binary, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{home}/*"]
    tool = [
        "-Xmx128m",
        "-XX:TieredStopAtLevel=1",
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
    ]
    broker = ["-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "kafka.Kafka", str(settings)]
    start = Command(name=site.name, argv=[*run, *broker], cwd=site.folder, log=site.log)
    if (disk / "meta.properties").is_file():
        return [start]
    return [
        replace(start, argv=[*run, *tool, "-t", CLUSTER_ID, "-c", str(settings)]),
        start,
    ]


def _answers(port: int) -> bool:
    if not accepts(port):
        return False
    client = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    try:
        return bool(client.list_topics(timeout=2).brokers)
    except KafkaException:
        return False


SERVICE: Final = Service(
    name="kafka",
    ports=("client", "controller"),
    timeout_s=180,
    address=lambda port: f"127.0.0.1:{port}",
    answers=_answers,
    commands=_commands,
)
