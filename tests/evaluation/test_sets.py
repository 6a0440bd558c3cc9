"""What the format refuses, in one line, and that every writer of sets keeps to it."""

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from deploy.shop.player import passing_incidents
from tests.evaluation import must_gather, train_ticket
from tests.evaluation.pairs import write_pairs
from tests.evaluation.run import signal_of
from tests.evaluation.sets import LabelledSet
from tests.evaluation.shop import END, tasks_of, telltale, untouched, write_shop
from tests.evaluation.standing import SEEDS, chosen, written

NOW = "2026-11-20T20:15:00Z"
Json = dict[str, Any]


def write(folder: Path, *tasks: Json, **described: Any) -> Path:
    (folder / "set.json").write_bytes(orjson.dumps({"name": "x", "now": NOW, "more": 1, **described}))
    (folder / "tasks.jsonl").write_bytes(b"\n".join(orjson.dumps(task) for task in tasks))
    return folder


TASK: Json = {"id": "t", "question": "?"}


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        ({"id": "t"}, "either question or turns"),
        ({**TASK, "turns": [{"role": "user", "content": "?"}]}, "either question or turns"),
        ({"id": "t", "turns": [{"role": "assistant", "content": "!"}]}, "no turn is the user's"),
        ({**TASK, "expect": [{"kind": "colour"}]}, "not an expectation"),
        ({**TASK, "expect": [{"kind": "object"}]}, "not an expectation"),
        ({**TASK, "expect": [{"kind": "evidence", "regex": "a", "signal": "smoke"}]}, "not an expectation"),
        ({**TASK, "expect": [{"kind": "evidence", "regex": "("}]}, "not a regular expression"),
        ({**TASK, "forbid": ["("]}, "not a regular expression"),
        ({**TASK, "now": "2026-11-20T20:15:00"}, "timezone"),
    ],
)
def test_a_task_with_a_mistake_is_refused_in_one_line(tmp_path: Path, task: Json, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as refused:
        LabelledSet.read(write(tmp_path, TASK, task))
    assert str(refused.value).startswith("tasks.jsonl, line 2: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("described", "complaint"),
    [
        ({"inputs": [{"file": "gone.jsonl", "topic": "logs"}]}, "gone.jsonl, which is not in the folder"),
        ({"inputs": [{"file": "set.json", "topic": "logs", "format": "smoke"}]}, r"set.json: inputs.0.format"),
        ({"runbooks": "nowhere/"}, "nowhere/, which is not in the folder"),
        ({"now": "soon"}, "set.json: now"),
    ],
)
def test_a_description_with_a_mistake_is_refused(tmp_path: Path, described: Json, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        LabelledSet.read(write(tmp_path, TASK, **described))


def test_a_set_may_say_little_and_more_than_is_known(tmp_path: Path) -> None:
    full: Json = {
        "id": "u", "group": "g", "turns": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"content": "c", "name": "x"}], "scope": {"namespaces": ["n"], "more": 1}, "forbid": ["(?im)^a"],
        "expect": [{"kind": "runbook", "path": "p.md", "section": None}], "abstain": False, "why": "because",
    }  # fmt: skip
    read = LabelledSet.read(write(tmp_path, TASK, full))
    assert read.tasks[1].asked == "a\nc"
    assert read.tasks[1].expect == ({"kind": "runbook", "path": "p.md"},)
    assert (read.inputs, read.runbooks, read.tasks[1].scope.namespaces) == ((), "", ("n",))


def test_the_command_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no standing set either") as refused:
        next(written(["nowhere"], tmp_path))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("topic", "signal"),
    [("logs", "log"), ("k8s-events", "event"), ("prod-metrics", "metric"), ("Alerts.v2", "alert"), ("app", "log")],
)
def test_a_topic_may_have_any_name(topic: str, signal: str) -> None:
    assert signal_of(topic) == signal


@pytest.mark.usefixtures("shared_data")
def test_what_is_run_without_a_word() -> None:
    assert chosen("", full=False) == ["pairs", "shop-1", "shop-2", "must-gather", "train-ticket"]
    assert chosen("shop,a/b", full=True) == [*(f"shop-{seed}" for seed in SEEDS), "a/b"]


@pytest.mark.parametrize("make", [write_pairs, must_gather.write_set, train_ticket.write_set])
def test_recorded_sets_are_valid(tmp_path: Path, shared_data: Path, make: Any) -> None:
    read = LabelledSet.read(make(shared_data, tmp_path))
    assert len({task.id for task in read.tasks}) == len(read.tasks)
    assert any(task.expect for task in read.tasks)


def test_train_ticket_asks_about_every_fault(shared_data: Path) -> None:
    faults = train_ticket.faults_of(shared_data / train_ticket.FOLDER)
    seen = [task for fault in faults for task in train_ticket.tasks_of(fault)]
    assert len(faults) == 28
    assert sum(task.get("abstain", False) for task in seen) == 11
    assert len(seen) == 11 + 2 * 17


def test_a_written_shop_is_valid_and_its_labels_hold(tmp_path: Path) -> None:
    """What is expected is said while it happens, and what is forbidden is said by nobody before."""
    read = LabelledSet.read(write_shop(2, tmp_path, rate=1))
    incidents = passing_incidents(2, end=END.replace(day=END.day - 3)).incidents
    messages = []
    for recording in [each for each in read.inputs if each.topic in ("logs", "k8s-events")]:
        lines = gzip.decompress(read.path(recording.file).read_bytes()).splitlines()
        messages += [(orjson.loads(line)["timestamp_ms"] / 1000, line.decode()) for line in lines]
    for incident in incidents:
        says = re.compile(telltale(incident))
        own = [at for at, line in messages if says.search(line)]
        assert own, incident.kind
        assert incident.start.timestamp() <= min(own) < incident.end.timestamp(), incident.kind


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_asks_everything(seed: int) -> None:
    scenario = passing_incidents(seed, end=datetime(2026, 11, 19, 20, tzinfo=UTC))
    tasks = list(tasks_of(scenario))
    assert {task["group"] for task in tasks} == {
        "symptom", "vague", "by name", "follow-up", "past", "asked before", "asked about before", "quiet",
        "other scope",
    }  # fmt: skip
    assert len({task["id"] for task in tasks}) == len(tasks)
    assert not {incident.workload for incident in scenario.incidents} & set(untouched(scenario))
    assert all(telltale(incident) for incident in scenario.incidents)
