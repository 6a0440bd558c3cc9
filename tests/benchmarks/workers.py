"""Two workers on two partitions against one: the same backlog, drained by one and then by both."""

from dataclasses import asdict, dataclass
from typing import Final

from confluent_kafka.admin import AdminClient

from deploy.installation import Installation
from tests.benchmarks import corpus
from tests.benchmarks.bench import Bench, Summary
from tests.benchmarks.drain import draining
from tests.benchmarks.load import lines_of
from tests.benchmarks.machine import CORES, WorkerProcess

GOAL: Final = 1.7  # where there are cores for both, and for Kafka and OpenSearch
CORES_NEEDED: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoWorkers:
    """On two partitions."""

    one: float  # lines a second
    two: float
    one_per_cpu_s: float
    two_per_cpu_s: float
    surplus: int  # lines counted more than sent

    @property
    def ratio(self) -> float:
        return self.two / self.one


def two_workers(bench: Bench) -> TwoWorkers:
    with bench.installed("workers", partitions=2) as installation, draining(installation) as drain:
        count = lines_of(drain.backlog("hundred", bench.lines))
        one = drain.backlog("hundred", count)
        installation.start_worker(2, "--only", "logs")
        admin = AdminClient({"bootstrap.servers": installation.endpoints.kafka})
        installation.wait(lambda: members(admin, installation) == 2, "two members", "worker-2", 60)
        drain.backlog("hundred", bench.lines)  # both have begun to write
        second, messages = WorkerProcess.of(installation, number=2), drain.draw("hundred", count)
        with second.stopped():
            drain.send(messages, count)
            cpu_s = second.cpu_s()
        found = drain.all_found()
        cpu_s = second.cpu_s() - cpu_s
        two, surplus = drain.figures(found), drain.surplus()
    return TwoWorkers(
        one=round(one.lines_per_s),
        two=round(two.lines_per_s),
        one_per_cpu_s=round(one.lines_per_cpu_s),
        two_per_cpu_s=round(two.lines / (two.cpu_s + cpu_s)),
        surplus=surplus,
    )


def members(admin: AdminClient, installation: Installation) -> int:
    """Those of the installation's groups that have partitions."""
    groups = [group.group_id for group in admin.list_consumer_groups().result().valid]
    mine = [group for group in groups if group == installation.name or group.startswith(f"{installation.name}.")]
    described = [future.result() for future in admin.describe_consumer_groups(mine).values()] if mine else []
    return sum(bool(member.assignment.topic_partitions) for group in described for member in group.members)


def run(bench: Bench) -> Summary:
    bench.out.print(
        f"workers: {corpus.STATED}; {corpus.BATCH} lines a message, 2 partitions keyed by pod, {CORES} cores"
    )
    found = two_workers(bench)
    judged = CORES >= CORES_NEEDED
    unless = "" if judged else f", not judged on {CORES} cores"
    bench.out.print(
        f"two workers {found.two:,} lines/s, one {found.one:,}: {found.ratio:.2f} times, with Kafka and OpenSearch "
        f"on the same cores; per CPU second {found.two_per_cpu_s:,} and {found.one_per_cpu_s:,}{unless}"
    )
    return {
        "name": "workers",
        "ok": found.surplus == 0 and (found.ratio >= GOAL or not judged),
        "headline": f"{found.ratio:.2f} times one worker, goal {GOAL:g}"
        + ("" if judged else f", not judged on {CORES} cores"),
        "ratio": round(found.ratio, 2),
        "goal": GOAL,
        "judged": judged,
        "guards": {"conserved": found.surplus == 0},
        **asdict(found),
    }
