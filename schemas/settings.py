"""Every setting, read once: from FRESHET_* variables, from a dotenv file, or from mounted secret files.

`FRESHET_KAFKA__BOOTSTRAP_SERVERS=...` sets `settings.kafka.bootstrap_servers`. A secret may also be a file: with
`FRESHET_SECRETS_DIR=/run/secrets`, the file `/run/secrets/freshet_kafka__password` holds the same value.
"""

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NestedSecretsSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from schemas import topics
from schemas.answer_settings import Access, AnswerCache, Api, Audit, Model, Quotas, Ranking, Verify
from schemas.errors import StartupError
from schemas.insight_settings import Bridge, Correlation, Detection, Insights
from schemas.records import Format, Signal
from schemas.section import CaFile, Positive, Seconds, Section

LOCAL_ENV_FILE = Path(".local/freshet.env")  # written by `make up`
MOST_STEPS: Final = 50_000  # that an added rule may take at one character of a text
MOST_REGEX_CHARS: Final = 1_000


def linear(regex: str) -> str:
    """Refuses what may take more than linear time, by its looks: `re` knows no time limit."""
    try:
        compiled = re.compile(regex)
    except re.error as error:
        raise ValueError(f"this is no regular expression: {error}") from None
    if compiled.search(""):
        raise ValueError("this regular expression matches the empty text, so it would match everywhere")
    signs = re.sub(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", "c", regex)
    if re.search(r"\)[*+{]", signs):
        raise ValueError("a repeated group may take exponential time; repeat a character class instead")
    if re.search(r"[^+*?}(][*+](?!\+)|\{\d*,\}(?!\+)", signs):
        raise ValueError(
            "an unbounded repeat may take quadratic time; write {1,200} instead of +, {0,200} instead of *"
        )
    widths = [int(most) - int(least or 0) + 1 for least, most in re.findall(r"\{(\d*),(\d+)\}(?!\+)", signs)]
    if math.prod(widths) > MOST_STEPS or len(regex) > MOST_REGEX_CHARS:
        raise ValueError(f"the widths of its repeats multiply to more than {MOST_STEPS}, or it is too long; narrow it")
    return regex


class InputSettings(Section):
    topic: str
    signal: Signal
    format: Format = Format.AUTO
    cluster: str = Field("", description="used where the shipper does not say which cluster it runs in")


class Kafka(Section):
    bootstrap_servers: str = Field("127.0.0.1:9092", description="host:port, comma separated")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: CaFile = Field(None, description="PEM file with the authorities to trust; the system's when unset")
    cert_file: Path | None = Field(None, description="client certificate (mutual TLS)")
    key_file: Path | None = Field(None, description="key of the client certificate")
    group: str = Field("freshet", description="application id: prefix of the consumer groups")
    partitions: Positive = Field(6, description="partitions of the input topics that `topics create` makes")
    replication_factor: Positive = 1
    retention_ms: int = Field(topics.DAY_MS * 3, description="retention of the input topics it makes; -1: for ever")
    inputs: tuple[InputSettings, ...] = tuple(
        InputSettings(topic=i.topic, signal=i.signal, format=i.format) for i in topics.DEFAULT_INPUTS
    )
    runbooks_topic: str = topics.RUNBOOKS
    dead_letters_topic: str = topics.DEAD_LETTERS

    @field_validator("inputs")
    @classmethod
    def _distinct(cls, value: tuple[InputSettings, ...]) -> tuple[InputSettings, ...]:
        names = [i.topic for i in value]
        if len(set(names)) != len(names):
            raise ValueError("an input topic is listed twice")
        return value

    def declared_inputs(self) -> tuple[topics.Input, ...]:
        return tuple(
            topics.Input(topic=i.topic, signal=i.signal, format=i.format, cluster=i.cluster) for i in self.inputs
        )


class OpenSearch(Section):
    url: HttpUrl = HttpUrl("http://127.0.0.1:9200")
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: CaFile = None
    verify_certs: bool = True
    prefix: str = Field("freshet", pattern=r"^[a-z][a-z0-9-]{0,30}$", description="of every index name")
    shards: Positive = 1
    replicas: Annotated[int, Field(ge=0)] = 0
    knn_engine: Literal["lucene", "faiss"] = Field("lucene", description="local OpenSearch has lucene only")
    refresh_interval_s: Seconds = Field(1.0, description="how soon a write is searchable")
    timeout_s: Seconds = 30.0

    @property
    def address(self) -> str:
        """The URL for people: without user and password, which may stand in it."""
        return f"{self.url.scheme}://{self.url.host}:{self.url.port}"


class Redis(Section):
    url: str = Field("redis://127.0.0.1:6379/0", description="redis:// or rediss:// (TLS)")
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: CaFile = None
    namespace: str = Field("freshet", pattern=r"^[a-z][a-z0-9-]{0,30}$", description="prefix of every key")
    timeout_s: Seconds = 2.0


class Registry(Section):
    url: HttpUrl | None = Field(None, description="Confluent-compatible API; runbooks go as plain Markdown without one")
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: CaFile = None


class Embedder(Section):
    kind: Literal["sentence-transformers", "http", "hashing"] = "sentence-transformers"
    model: str = Field("all-MiniLM-L6-v2", description="a local folder, or the model that ships with the package")
    base_url: HttpUrl | None = Field(None, description="/v1/embeddings endpoint for kind=http")
    api_key: SecretStr = SecretStr("")
    ca_file: CaFile = None
    dimensions: Positive = 384
    threads: Positive = Field(1, description="torch threads in a worker")


class ExtraRule(Section):
    """A kind of secret that the product does not know, such as a house's own tokens."""

    name: str = Field(pattern=r"^[a-z][a-z-]{0,30}$", description="its placeholder is <redacted:NAME>")
    regex: Annotated[str, AfterValidator(linear)] = Field(
        description="Python's syntax; what the group `secret` matches goes, or the whole match"
    )


class Redaction(Section):
    ip_addresses: bool = Field(False, description="redact IP addresses too; off: they matter in an incident")
    names: bool = Field(
        False,
        description="redact names of people and accounts where a key or a phrase says so (user=bob, password for bob "
        "from ...); names in prose are not found",
    )
    extra: tuple[ExtraRule, ...] = Field((), description='JSON: [{"name": "our-token", "regex": "ours_[a-z0-9]{32}"}]')


class Retention(Section):
    """Days of event time that are kept, per kind of index."""

    patterns: Positive = 14
    occurrences: Positive = 14
    events: Positive = 14
    alerts: Positive = 30
    series: Positive = 7
    tallies: Positive = 30
    insights: Positive = 30


class Worker(Section):
    id: str = Field("", description="stable and unique per worker (the pod name): restarts then cost no rebalance")
    flush_interval_s: Seconds = Field(0.5, description="how soon new patterns, errors, events and alerts are written")
    update_interval_s: Seconds = Field(
        10.0, description="how late the counts of known patterns may be while much is said; less costs more writes"
    )
    flush_records: Positive = Field(200_000, description="a flush starts at this many records even before its time")
    flush_documents: Positive = Field(10_000, description="or at this many documents: where every line is a new one")
    bulk_bytes: Positive = Field(5_000_000, description="largest body of one bulk request")
    cached_slices: Positive = Field(200_000, description="slices remembered between flushes; bounds memory")
    new_patterns_per_minute: Positive = Field(
        300,
        description="of one workload are embedded at once; beyond it, in a burst of lines that are all different, they "
        "are found by their words and embedded when the model has time. A whole system has some 250 templates (Loghub)",
    )
    max_body_chars: Positive = Field(32_768, le=1_000_000, description="a longer log body is cut, marked and counted")
    metrics_port: int = Field(0, description="Prometheus port of the worker; 0: none")
    session_timeout_s: Seconds = 10.0
    dead_letter_limit: Annotated[float, Field(gt=0, le=1)] = Field(
        0.9, description="share of rejects in the last 10,000 records above which a worker stops"
    )


class Settings(BaseSettings):
    """All sections; `Settings.load()` is called once per process, by its composition root."""

    model_config = SettingsConfigDict(
        env_prefix="FRESHET_", env_nested_delimiter="__", extra="ignore", frozen=True, case_sensitive=False
    )

    kafka: Kafka = Kafka()
    opensearch: OpenSearch = OpenSearch()
    redis: Redis = Redis()
    registry: Registry = Registry()
    model: Model = Model()
    embedder: Embedder = Embedder()
    redaction: Redaction = Redaction()
    retention: Retention = Retention()
    worker: Worker = Worker()
    api: Api = Api()
    access: Access = Access()
    quotas: Quotas = Quotas()
    audit: Audit = Audit()
    ranking: Ranking = Ranking()
    verify: Verify = Verify()
    answer_cache: AnswerCache = AnswerCache()
    insights: Insights = Insights()
    detection: Detection = Detection()
    correlation: Correlation = Correlation()
    bridge: Bridge = Bridge()
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    def topics_table(self) -> tuple[topics.Topic, ...]:
        """Every topic that the product needs with these settings."""
        return topics.topics_table(
            self.kafka.declared_inputs(),
            partitions=self.kafka.partitions,
            retention_ms=self.kafka.retention_ms,
            runbooks=self.kafka.runbooks_topic,
            dead_letters=self.kafka.dead_letters_topic,
            insights=self.insights,
        )

    @classmethod
    def load(cls, env_file: Path | None = None, secrets_dir: Path | None = None) -> "Settings":
        """Read the environment, mounted secrets and the dotenv file (environment first).

        Raises StartupError with one line per wrong setting; values are never quoted, they may be secrets.
        """
        env_file = env_file or Path(os.environ.get("FRESHET_ENV_FILE", LOCAL_ENV_FILE))
        secrets_dir = secrets_dir or _path(os.environ.get("FRESHET_SECRETS_DIR"))
        try:
            return cls(_env_file=env_file, _secrets_dir=secrets_dir)
        except ValidationError as error:
            lines = [f"FRESHET_{'__'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
            raise StartupError("settings are wrong:\n  " + "\n  ".join(lines)) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, NestedSecretsSettingsSource(file_secret_settings), dotenv_settings


def _path(value: str | None) -> Path | None:
    return Path(value) if value else None


def kafka_client_config(kafka: Kafka) -> dict[str, Any]:
    """The librdkafka configuration for these settings."""
    config: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.startswith("SASL"):
        config |= {
            "sasl.mechanism": kafka.sasl_mechanism,
            "sasl.username": kafka.username,
            "sasl.password": kafka.password.get_secret_value(),
        }
    for name, path in (
        ("ssl.ca.location", kafka.ca_file),
        ("ssl.certificate.location", kafka.cert_file),
        ("ssl.key.location", kafka.key_file),
    ):
        if path:
            config[name] = str(path)
    return config
