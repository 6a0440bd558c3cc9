"""Topics as Kafka has them: reach the broker, read topic ids, create what is missing, compare settings, measure lag."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # public names that its stubs forgot to export
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from schemas.errors import SinkUnavailable, StartupError
from schemas.records import topic_id_text
from schemas.settings import Kafka, kafka_client_config
from schemas.topics import Topic

ANSWER_S: Final = 10.0
COORDINATOR_PATIENCE_S: Final = 30.0
NO_COORDINATOR: Final = frozenset(
    {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One topic as the broker has it."""

    name: str
    topic_id: str
    partitions: int
    replication: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """What a partition holds: offsets from `start` to before `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A consumer group as its coordinator has it."""

    stable: bool
    instances: frozenset[str]  # static member ids
    assigned: frozenset[tuple[str, int]]  # topic and partition


class Broker:
    """The admin client. Every call may block for `timeout_s` and raises SinkUnavailable when Kafka does not answer."""

    def __init__(self, kafka: Kafka, timeout_s: float = ANSWER_S) -> None:
        self._address, self._timeout_s = kafka.bootstrap_servers, timeout_s
        self._complaint = ""
        self._members: dict[str, Consumer] = {}  # by group
        self._config = kafka_client_config(kafka) | {"error_cb": self._complain, "log_level": 0}
        try:
            self._client = AdminClient(self._config)
        except KafkaException as error:  # a password that is missing, a certificate that cannot be read
            raise StartupError(
                f"Kafka's settings cannot be used: {error.args[0].str()}. See FRESHET_KAFKA__*."
            ) from None

    def _complain(self, error: KafkaError) -> None:
        """librdkafka answers every failure with a time-out; only this callback says what was wrong."""
        if error.code() != KafkaError._ALL_BROKERS_DOWN and not self._complaint:
            self._complaint = f"{error.name().lstrip('_').lower()}: {error.str()}"

    def reach(self) -> int:
        """The number of brokers. Raises StartupError that names the address, the reason and what to do."""
        try:
            return len(self._client.list_topics(timeout=self._timeout_s).brokers)
        except KafkaException as error:
            self._client.poll(0)
            reason = self._complaint or error.args[0].str()
            raise StartupError(f"Kafka at {self._address} does not answer ({reason}). {self._advice()}") from None

    def describe(self, names: Iterable[str]) -> dict[str, Described]:
        """The topics of these names that exist, settings included."""
        wanted = sorted(set(names))
        found = {n: d for n, d in ((n, self._describe(f)) for n, f in self._ask_topics(wanted).items()) if d}
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in found]
        answers = self._client.describe_configs(resources, request_timeout=self._timeout_s) if resources else {}
        described = {}
        for resource, future in answers.items():
            topic = found[resource.name]
            described[resource.name] = Described(
                name=resource.name,
                topic_id=topic_id_text(topic.topic_id),
                partitions=len(topic.partitions),
                replication=min((len(p.replicas) for p in topic.partitions), default=0),
                config={name: entry.value for name, entry in self._wait(future).items()},
            )
        return described

    def partitions(self, topic: str) -> list[int]:
        """Partition numbers of an existing topic."""
        found = self._describe(self._ask_topics([topic])[topic])
        return [p.id for p in found.partitions] if found else []

    def topic_ids(self, names: Iterable[str]) -> dict[str, str]:
        """Kafka's own ids of those topics that exist: a topic that is deleted and made again has another one."""
        answers = {name: self._describe(future) for name, future in self._ask_topics(sorted(set(names))).items()}
        return {name: topic_id_text(topic.topic_id) for name, topic in answers.items() if topic}

    def create(self, table: Sequence[Topic], replication: int) -> dict[str, bool]:
        """Make what is missing; True for those that were made now."""
        wanted = [
            NewTopic(t.name, num_partitions=t.partitions, replication_factor=replication, config=dict(t.config))
            for t in table
        ]
        made = {}
        for name, future in self._client.create_topics(wanted, request_timeout=self._timeout_s).items():
            try:
                future.result()
                made[name] = True
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise SinkUnavailable(f"topic {name!r} was not created: {self._why(error)}") from None
                made[name] = False
        return made

    def lag(self, group: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Records from the group's committed offset (the start, without one) to the end, by topic and partition."""
        wanted = sorted(partitions)
        if not wanted:
            return {}
        committed, logs = self.committed(group, wanted), self.logs(wanted)
        return {key: max(0, logs[key].end - committed.get(key, logs[key].start)) for key in wanted}

    def logs(self, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], Log]:
        """The offsets that these partitions hold now."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        ends = self._offsets(asked, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        starts = self._offsets(asked, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        return {key: Log(start=starts[key], end=end) for key, end in ends.items()}

    def committed(self, group: str, partitions: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """The group's next offsets to read, by topic and partition; those without one are left out."""
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        if not asked:
            return {}
        found = self._of_coordinator(lambda: self._member(group).committed(asked, timeout=self._timeout_s))
        return {(p.topic, p.partition): p.offset for p in found if p.offset >= 0}

    def _member(self, group: str) -> Consumer:
        """A client that may ask for the group's positions; it never joins.

        The admin client's own question ends the process when a coordinator has moved (librdkafka issue 5040).
        """
        if group not in self._members:
            self._members[group] = Consumer(self._config | {"group.id": group, "enable.auto.commit": False})
        return self._members[group]

    def group(self, name: str) -> Group:
        """A group that nobody has joined yet is unstable and empty."""
        found = self._of_coordinator(
            lambda: self._client.describe_consumer_groups([name], request_timeout=self._timeout_s)[name].result()
        )
        return Group(
            stable=found.state == ConsumerGroupState.STABLE,
            instances=frozenset(m.group_instance_id for m in found.members if m.group_instance_id),
            assigned=frozenset((p.topic, p.partition) for m in found.members for p in m.assignment.topic_partitions),
        )

    def misplaced(self, group: Group, names: Iterable[str]) -> list[tuple[str, int]]:
        """Partitions of these topics that a stable group has given to nobody, or to somebody although they are gone.

        A leader that comes back under its static id is handed the old assignment and computes none, so after a topic
        was made again with more or fewer partitions it does not fit until a member drops out.
        """
        if not group.stable:
            return []
        wanted = set(names)
        there = {(name, partition) for name in wanted for partition in self.partitions(name)}
        return sorted(there ^ {place for place in group.assigned if place[0] in wanted})

    def _offsets(self, partitions: Sequence[TopicPartition], spec: OffsetSpec) -> dict[tuple[str, int], int]:
        answers = self._client.list_offsets(dict.fromkeys(partitions, spec), request_timeout=self._timeout_s)
        return {(p.topic, p.partition): self._wait(future).offset for p, future in answers.items()}

    def _ask_topics(self, names: Sequence[str]) -> dict[str, Any]:
        if not names:
            return {}
        return dict(self._client.describe_topics(TopicCollection(list(names)), request_timeout=self._timeout_s))

    def _describe(self, future: Any) -> Any:
        try:
            return future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise SinkUnavailable(self._why(error)) from None

    def _of_coordinator(self, ask: Callable[[], Any]) -> Any:
        """What the group's coordinator answers; a new cluster has none until Kafka has made its offsets topic.

        One that timed out is asked once more, by another client.
        """
        deadline, deaf = time.monotonic() + COORDINATOR_PATIENCE_S, False
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() == KafkaError._TIMED_OUT:
                    self._renew()
                    if not deaf:
                        deaf = True
                        continue
                if error.args[0].code() not in NO_COORDINATOR or time.monotonic() > deadline:
                    raise SinkUnavailable(self._why(error)) from None
                time.sleep(0.2)

    def _wait(self, future: Any) -> Any:
        try:
            return future.result()  # librdkafka itself keeps the time-out that the request was given
        except KafkaException as error:
            self._renew()
            raise SinkUnavailable(self._why(error)) from None

    def _renew(self) -> None:
        """Let other clients ask from now on.

        One that has waited for a coordinator in vain never hears one again, and one that knew a partition's leader
        before a broker's restart goes on with the old epoch, minutes after Kafka is back (librdkafka 2.16, measured).
        """
        self._client = AdminClient(self._config)
        self._members.clear()

    def _why(self, error: KafkaException) -> str:
        return f"Kafka at {self._address}: {self._complaint or error.args[0].str()}"

    def _advice(self) -> str:
        complaint = self._complaint.lower()
        if "certificate" in complaint or "handshake" in complaint:
            return "Check FRESHET_KAFKA__SECURITY_PROTOCOL, __CA_FILE, __CERT_FILE and __KEY_FILE."
        if "authentication" in complaint or "sasl" in complaint:
            return "Check FRESHET_KAFKA__USERNAME, __PASSWORD, __SASL_MECHANISM and __SECURITY_PROTOCOL."
        return "Start it (`make up`) or set FRESHET_KAFKA__BOOTSTRAP_SERVERS."


def differences(table: Sequence[Topic], found: Mapping[str, Described], replication: int) -> list[str]:
    """One line for each way in which the broker's topics differ from the table; more partitions are fine."""
    lines = []
    for topic in table:
        there = found.get(topic.name)
        if there is None:
            lines.append(f"{topic.name}: missing")
            continue
        if there.partitions < topic.partitions:
            lines.append(f"{topic.name}: {there.partitions} partitions, {topic.partitions} wanted")
        if there.replication < replication:
            lines.append(f"{topic.name}: replication {there.replication}, {replication} wanted")
        lines += [
            f"{topic.name}: {name}={there.config.get(name, '')}, {value} wanted"
            for name, value in topic.config.items()
            if there.config.get(name) != value
        ]
    return lines


def require(broker: Broker, names: Iterable[str]) -> dict[str, str]:
    """The ids of these topics. Raises StartupError when one does not exist."""
    wanted = set(names)
    ids = broker.topic_ids(wanted)
    if missing := sorted(wanted - set(ids)):
        raise StartupError(f"Kafka has no topic {', '.join(missing)}. Run `python -m streams topics create`.")
    return ids
