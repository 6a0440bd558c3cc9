"""What is sent for a folder, and how values are framed, checked and read back."""

import json
import subprocess
from pathlib import Path

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from cag.publish import Document, Folder, Held, held_by, plan_changes, read_folder, suspicious
from cag.registry import SCHEMA_FILE, Published, ValueDecoder, ValueEncoder
from cag.topic import End
from processors.registry import incompatible, register, registry_client
from schemas.errors import InvalidRecord, SinkMisconfigured, SinkUnavailable, StartupError
from schemas.records import Message
from schemas.settings import Registry
from streams.runbooks import compiled

HISTORY = SCHEMA_FILE.parent / "history"
TOPIC = "runbooks"


def message(value: bytes | None, key: bytes = b"a.md", offset: int = 0, partition: int = 0) -> Message:
    return Message(
        topic=TOPIC, topic_id="t", partition=partition, offset=offset, timestamp_ms=offset, key=key, value=value
    )


def folder(**texts: str) -> Folder:
    documents = tuple(Document(path=f"{name}.md", text=text) for name, text in sorted(texts.items()))
    return Folder(documents=documents, skipped=(("broken.md", "why"),), revision="")


def held(*messages: Message) -> dict[str, list[Held]]:
    return held_by([*messages, End(partition=0, offset=9)], ValueDecoder(None))


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_only_changes_are_sent() -> None:
    there = held(
        message(b"old", b"changed.md", 0),
        message(b"first", b"same.md", 1),
        message(b"same", b"same.md", 2),
        message(b"x", b"gone.md", 3),
        message(b"x", b"broken.md", 4),
        message(b"x", b"deleted.md", 5),
        message(None, b"deleted.md", 6),
        message(b"x", b"/not/ours", 7),
    )
    plan = plan_changes(folder(added="n", changed="new", same="same"), there)
    assert (plan.added, plan.changed, plan.deleted, plan.unchanged) == (
        ("added.md",),
        ("changed.md",),
        ("gone.md",),
        1,
    )
    assert [(c.key, c.partition, c.document and c.document.text) for c in plan.changes] == [
        (b"added.md", -1, "n"),
        (b"changed.md", 0, "new"),
        (b"gone.md", 0, None),
    ]


@pytest.mark.parametrize(
    ("prefix", "deleted"), [("", ("other/b.md", "team/a.md", "teams.md")), ("team", ("team/a.md",))]
)
def test_only_what_is_below_the_prefix_is_deleted(prefix: str, deleted: tuple[str, ...]) -> None:
    there = held(message(b"x", b"team/a.md"), message(b"x", b"other/b.md"), message(b"x", b"teams.md"))
    assert plan_changes(folder(new="x"), there, prefix).deleted == deleted


def test_copies_in_other_partitions_are_taken_away() -> None:
    there = held(message(b"same", b"a.md", 1, partition=0), message(b"same", b"a.md", 5, partition=2))
    changes = plan_changes(folder(a="same"), there).changes
    assert [(c.partition, c.document is None) for c in changes] == [(0, True), (2, False)]


def test_a_value_that_cannot_be_read_is_sent_again() -> None:
    assert plan_changes(folder(a="x"), held(message(b"\xff"))).changed == ("a.md",)


@pytest.mark.parametrize(("gone", "kept", "expected"), [(9, 0, False), (10, 0, True), (10, 10, False), (30, 20, True)])
def test_deleting_most_of_the_topic_is_suspicious(gone: int, kept: int, expected: bool) -> None:
    there = held(*(message(b"x", f"{n}.md".encode(), n) for n in range(gone + kept)))
    plan = plan_changes(folder(**{str(n): "x" for n in range(gone, gone + kept)}), there)
    assert suspicious(plan, there) is expected


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_folder_is_read_without_links_hidden_and_broken_files(tmp_path: Path) -> None:
    for name, content in {
        "b/Two.MD": b"# two",
        "one.markdown": "# ö\r\n".encode(),
        "not.txt": b"x",
        ".git/x.md": b"x",
        "node_modules/y.md": b"x",
        "empty.md": b"",
        "latin.md": b"\xff",
        "big.md": b"x" * 1_048_577,
        "secret.md": b"---\nnamespaces: {}\n---\nx",
        "odd.md": b"---\n[\n---\nx",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link.md").symlink_to("/etc/hostname")
    found = read_folder(tmp_path, "team")
    assert [d.path for d in found.documents] == ["team/odd.md", "team/one.markdown", "team/b/Two.MD"]
    assert found.documents[1].text == "# ö\r\n"
    assert found.documents[0].warnings
    assert [p for p, _ in found.skipped] == ["team/big.md", "team/empty.md", "team/latin.md", "team/secret.md"]
    assert found.revision == ""


def test_a_clean_checkout_names_its_commit(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.test")
        line = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "a.md").write_text("x")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "x")
    assert read_folder(tmp_path).revision == git("rev-parse", "HEAD") != ""
    (tmp_path / "a.md").write_text("y")
    assert read_folder(tmp_path).revision == ""


def test_no_folder_and_no_markdown_are_said_at_once(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(StartupError, match=str(path)):
            read_folder(path)


# -- the wire ----------------------------------------------------------------------------------------------------------


levels: dict[str, str] = {}


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SchemaRegistryClient:
    client = SchemaRegistryClient.new_client({"url": "mock://runbooks"})
    monkeypatch.setattr(client, "set_compatibility", levels.__setitem__)  # the one call that the mock lacks
    return client


FULL = Published(path="a.md", text="# ö", revision="abc", published_ms=5, source_url="https://example.test/a.md")


def test_a_value_survives_the_registry_and_markdown_needs_none(registry: SchemaRegistryClient) -> None:
    decode = ValueDecoder(registry)
    value = ValueEncoder(registry, TOPIC)(FULL)
    assert value[:1] == b"\x00"
    assert decode(message(value)) == FULL
    assert levels == {f"{TOPIC}-value": "BACKWARD_TRANSITIVE"}
    plain = ValueEncoder(None, TOPIC)(FULL)
    assert plain == "# ö".encode()
    assert decode(message(plain)) == ValueDecoder(None)(message(plain)) == Published(text="# ö")


def test_broken_frames_are_bad_records(registry: SchemaRegistryClient) -> None:
    decode = ValueDecoder(registry)
    value = ValueEncoder(registry, TOPIC)(FULL)
    huge = value[:5] + b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x"
    broken = [*(value[:n] for n in range(1, len(value))), value + b"x", huge, value[:5] + b"\xff" * 30]
    utf_16, other_magic = "# ö".encode("utf-16-le"), b"\x01" + value[1:]
    for bad in (*broken, utf_16, other_magic, b"\xff", b"x" * 2**21):
        with pytest.raises(InvalidRecord):
            decode(message(bad))
    with pytest.raises(InvalidRecord, match="REGISTRY__URL"):
        ValueDecoder(None)(message(value))


def test_a_value_that_names_another_path_is_a_bad_record(registry: SchemaRegistryClient) -> None:
    value = ValueEncoder(registry, TOPIC)(FULL)
    found = compiled(message(value), "a.md", ValueDecoder(registry))
    assert found is not None
    assert (found.version, found.source_url) == ("abc", "https://example.test/a.md")
    with pytest.raises(InvalidRecord, match="another path"):
        compiled(message(value), "b.md", ValueDecoder(registry))
    assert compiled(message(None), "a.md", ValueDecoder(registry)) is None


class Answering:
    """A registry that gives every id the same answer."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer = answer

    def get_schema(self, schema_id: int) -> Schema:
        if isinstance(self.answer, Exception):
            raise self.answer
        return Schema(self.answer, "AVRO")


FRAME = b"\x00\x00\x00\x00\x07" + b"\x02" * 20


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (SchemaRegistryError(404, 40403, "no"), InvalidRecord),
        (SchemaRegistryError(404, 404, "no such page"), SinkMisconfigured),  # the URL is wrong, not the record
        (json.JSONDecodeError("a page for people", "<html>", 0), SinkMisconfigured),
        (SchemaRegistryError(401, 401, "no"), SinkMisconfigured),
        (SchemaRegistryError(503, 1, "no"), SinkUnavailable),
        (SchemaRegistryError(429, 1, "no"), SinkUnavailable),
        ("not a schema", InvalidRecord),
        ('"string"', InvalidRecord),
        ('{"type":"record","name":"Other","fields":[{"name":"x","type":"int"}]}', InvalidRecord),
        (
            '{"type":"record","name":"freshet.Runbook","fields":[{"name":"path","type":"string"},'
            '{"name":"text","type":"string"},{"name":"n","type":{"type":"array","items":"null"}}]}',
            InvalidRecord,
        ),
    ],
)
def test_what_the_registry_answers_decides_what_to_do(answer: str | Exception, error: type[Exception]) -> None:
    with pytest.raises(error):
        ValueDecoder(Answering(answer))(message(FRAME))


def test_a_registry_that_is_away_is_waited_for() -> None:
    client = registry_client(Registry(url="http://127.0.0.1:9/", username="u", password="hidden"))
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1:9") as caught:
        ValueDecoder(client, "http://127.0.0.1:9")(message(FRAME))
    assert "hidden" not in str(caught.value)


# -- compatibility -----------------------------------------------------------------------------------------------------


def versions() -> list[tuple[str, str]]:
    return [(file.name, file.read_text()) for file in sorted(HISTORY.glob("runbook.v*.avsc"))]


def changed(**change: object) -> str:
    schema = json.loads(SCHEMA_FILE.read_text())
    return json.dumps({**schema, "fields": [*schema["fields"], change]})


def test_every_published_schema_can_still_be_read() -> None:
    assert versions()
    assert incompatible(SCHEMA_FILE.read_text(), versions()) == []
    assert json.loads(SCHEMA_FILE.read_text()) in [json.loads(text) for _, text in versions()], "add it to history/"


@pytest.mark.parametrize(
    ("new", "bad"),
    [
        (changed(name="owner", type="string"), True),
        (changed(name="owner", type="string", default=""), False),
        (SCHEMA_FILE.read_text().replace('"long"', '"string"').replace('"default": 0', '"default": ""'), True),
    ],
)
def test_an_incompatible_change_is_caught(new: str, bad: bool) -> None:
    assert bool(incompatible(new, versions())) is bad


def test_a_subject_with_foreign_schemas_is_refused(registry: SchemaRegistryClient) -> None:
    other = '{"type":"record","name":"Runbook","namespace":"freshet","fields":[{"name":"path","type":"string"}]}'
    registry.register_schema("foreign-value", Schema(other, "AVRO"))
    with pytest.raises(StartupError, match="version 1"):
        register(registry, "foreign", SCHEMA_FILE.read_text(), "http://registry")
    assert registry.get_versions("foreign-value") == [1]
