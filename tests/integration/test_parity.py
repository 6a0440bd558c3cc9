"""Stream, replay and Spark over the same records, broken ones included: the same documents, the same dead letters."""

import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import orjson
import pytest
import typer
from typer.testing import CliRunner

from cag.topic import describe, read_to_end
from deploy.installation import CHECKOUT, Installation
from deploy.local.services import Endpoints
from deploy.shop.delivery import publish
from deploy.shop.player import play, single_incident
from deploy.shop.telemetry import Message as Sent
from processors.generation import label_of
from processors.index import OpenSearchIndex
from processors.scan import digest_of, scan
from processors.sink import live_label, open_index
from schemas import dead_letters
from schemas.errors import StartupError
from schemas.records import Message
from schemas.settings import Kafka, Settings
from spark_jobs import archive, index_history, session
from streams.topics import Broker
from tests import odd_headers
from tests.benchmarks.installed import installed
from tests.unit.test_pipeline import notice

pytestmark = pytest.mark.integration
NAME = "it-parity"
QUICK = {"FRESHET_EMBEDDER__KIND": "hashing", "FRESHET_WORKER__SESSION_TIMEOUT_S": "6"}
NOW_MS = int(time.time() * 1000) - 60_000
TOO_LONG = "x" * 40_000  # for a term of Lucene's: the index refuses the document
BROKEN: Sequence[tuple[str, bytes | None]] = (
    ("logs", b"\xff\xfe undecodable"),
    ("logs", b'{"log": "cut sho'),
    ("logs", b""),
    ("logs", orjson.dumps([{"log": "good", "date": NOW_MS / 1000}, 7, {"log": "old", "date": 1.5e9}])),
    ("metrics", b'{"metrics": [{"name": "broken"}]}'),
    ("k8s-events", b"[]"),
    ("alerts", orjson.dumps({"version": "4", "alerts": [notice("Fine", NOW_MS, None), {"labels": 1}]})),
    ("alerts", orjson.dumps({"version": "4", "alerts": [notice(TOO_LONG, NOW_MS, None)]})),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one route has made of everything."""

    digest: str
    documents: Mapping[str, int]
    letters: frozenset[tuple[str, ...]]


def messages() -> Iterator[Sent]:
    end = datetime.fromtimestamp(NOW_MS / 1000, UTC)
    yield from play(single_incident("bad-deploy", seed=3, end=end, minutes=3, rate=20))
    for topic, value in BROKEN * 2:
        yield Sent(topic=topic, key=None, value=value, timestamp_ms=NOW_MS)


@pytest.fixture(scope="module")
def stream(state: Path, endpoints: Endpoints) -> Iterator[Installation]:
    """Everything went through a worker."""
    with installed(NAME, state, endpoints, partitions=2) as installation:
        installation.extra |= QUICK
        publish(messages(), endpoints.kafka, topics=installation.topics)
        odd_headers.send(endpoints.kafka, installation.topics["logs"], b"odd", partition=1, timestamp_ms=NOW_MS)
        installation.start_worker()
        broker = Broker(Kafka(bootstrap_servers=endpoints.kafka))
        places = [(topic, p) for topic in installation.topics.values() for p in broker.partitions(topic)]
        installation.wait(lambda: not any(broker.lag(NAME, places).values()), "the worker", "worker-1", 90)
        installation.stop()
        yield installation


def beside(stream: Installation, route: str) -> Installation:
    """The same topics, other indices, group and dead letters."""
    letters = f"{NAME}.{route}-letters"
    names = {
        "FRESHET_OPENSEARCH__PREFIX": f"{NAME}-{route}",
        "FRESHET_KAFKA__GROUP": f"{NAME}-{route}",
        "FRESHET_KAFKA__DEAD_LETTERS_TOPIC": letters,
    }
    other = replace(stream, extra=stream.extra | names)
    other.run("streams", "topics", "create")
    return other


def index_of(installation: Installation, label: str = "") -> OpenSearchIndex:
    settings = settings_of(installation)
    return open_index(settings, label or live_label(settings))


def settings_of(installation: Installation) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in installation.environment.items():
            patch.setenv(name, value)
        return Settings.load()


def outcome(installation: Installation, label: str = "") -> Outcome:
    index = index_of(installation, label)
    found = digest_of(scan(index))
    rejected = letters(installation, index.names.generation)
    assert len(set(rejected)) == len(rejected), "a letter was written twice"
    return Outcome(digest=found.text, documents=found.documents, letters=frozenset(rejected))


def letters(installation: Installation, label: str) -> list[tuple[str, ...]]:
    """Of this label: source coordinates, stage and reason."""
    kafka = settings_of(installation).kafka
    names = (dead_letters.TOPIC_ID, dead_letters.PARTITION, dead_letters.OFFSET, dead_letters.INDEX)
    names = (*names, dead_letters.STAGE, dead_letters.REASON)
    found = []
    for letter in read_to_end(kafka, describe(kafka, kafka.dead_letters_topic), idle_s=30):
        if isinstance(letter, Message):
            said = {name: (value or b"").decode() for name, value in letter.headers}
            if said[dead_letters.GENERATION] == label:
                found.append(tuple(said[name] for name in names))
    return found


def spark(app: typer.Typer, installation: Installation, *arguments: str) -> dict[str, int]:
    """A job in this process, which spares it a JVM."""
    told = CliRunner().invoke(
        app, [*arguments, "--json", "--master", "local[2]"], env=installation.environment, catch_exceptions=False
    )
    assert told.exit_code == 0, told.output
    return orjson.loads(told.stdout.splitlines()[-1])


def submit(installation: Installation, folder: Path, *arguments: str) -> dict[str, int]:
    """As on a cluster: from another folder, with nothing but the zip that the help text tells to make."""
    packages = folder / "freshet.zip"
    with zipfile.ZipFile(packages, "w") as made:
        for package in ("schemas", "processors", "cag", "spark_jobs"):
            for file in (CHECKOUT / package).rglob("*"):
                if file.is_file() and file.suffix != ".pyc":
                    made.write(file, file.relative_to(CHECKOUT))
    script = shutil.copy(CHECKOUT / "spark_jobs" / "index_history.py", folder)
    local = ("spark.driver.host=127.0.0.1", "spark.driver.bindAddress=127.0.0.1", "spark.ui.enabled=false")
    flags = [word for setting in (*local, f"spark.pyspark.python={sys.executable}") for word in ("--conf", setting)]
    home = Path(find_spec("pyspark").origin).parent  # type: ignore[arg-type, union-attr]
    ran = subprocess.run(
        [home / "bin" / "spark-submit", "--master", "local[2]", "--driver-memory", "1g", *flags,
         "--driver-java-options", session.LOCAL["spark.driver.extraJavaOptions"],
         "--py-files", packages, script, *arguments, "--json"],
        check=False, cwd=folder, capture_output=True, text=True, timeout=300,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "SPARK_HOME": str(home), **installation.environment},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return orjson.loads(ran.stdout.splitlines()[-1])


def test_replay_writes_what_the_worker_wrote(stream: Installation) -> None:
    """Into a shadow, which rejects for itself."""
    expected = outcome(stream)
    stream.run("streams", "replay", "--shadow", "parity", "--exit-when-caught-up")
    shadow = label_of(live_label(settings_of(stream)), "parity")
    assert outcome(stream, shadow) == expected


def test_spark_writes_what_the_worker_wrote(stream: Installation, tmp_path: Path) -> None:
    expected, route = outcome(stream), beside(stream, "spark")
    told = submit(route, tmp_path)
    assert outcome(route) == expected
    assert told["letters"] == len(expected.letters)


def test_spark_over_an_archive_writes_the_same_and_a_second_run_nothing(stream: Installation, tmp_path: Path) -> None:
    folder = str(tmp_path / "archive")
    written = spark(archive.app, stream, "--into", folder)
    again = spark(archive.app, stream, "--into", folder)
    assert (again["offsets"], again["held"], again["messages"]) == (0, written["offsets"], 0)
    expected, route = outcome(stream), beside(stream, "archive")
    assert spark(index_history.app, route, "--archive", folder)["messages"] == written["messages"]
    assert outcome(route) == expected


def test_over_what_is_live_it_brings_back_what_was_lost_and_changes_nothing_else(stream: Installation) -> None:
    expected, index = outcome(stream), index_of(stream)
    lost = index.names.pattern("occurrences")
    index.request("DELETE", f"/{lost}")
    assert outcome(stream) != expected
    assert spark(index_history.app, stream, "--no-embed")["letters"] == 0
    assert outcome(stream) == expected


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["payroll"], "payroll: none of the input topics"),
        (["--archive", "/nowhere/at-all"], "/nowhere/at-all: there is no such file or folder"),
        (["--archive", str(CHECKOUT / "README.md")], "something that is not Parquet"),
        (["--archive", str(CHECKOUT / "tests" / "unit" / "examples" / "text.txt")], "say which topic"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(stream: Installation, arguments: list[str], told: str) -> None:
    with pytest.raises(StartupError, match=told):
        spark(index_history.app, stream, *arguments)


def test_lines_without_coordinates_count_separately(stream: Installation, tmp_path: Path) -> None:
    route, lines = beside(stream, "lines"), tmp_path / "old.log"
    lines.write_bytes(b"disk 1 is full\n\ndisk 2 is full\n\xff\n")
    arguments = ("--archive", str(lines), "--as", stream.topics["logs"], "--rejects", str(tmp_path / "rejects"))
    told = spark(index_history.app, route, *arguments)
    assert (told["records"], told["letters"], letters(route, str(told["label"]))) == (3, 1, [])
    (found,) = (source for target, source in scan(index_of(route)) if target.kind == "occurrences")
    assert (found["count"], [e["at"].rsplit("/", 2)[1] for e in found["exemplars"]]) == (2, ["0", "2"])
    with pytest.raises(StartupError, match="choose another folder"):
        spark(index_history.app, route, *arguments)
