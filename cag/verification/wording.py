"""Words of answers: how they are compared, and which are no names although they look like some. Pure."""

import re
from functools import lru_cache
from typing import Final

# What gpt-oss and others write for plain hyphens, spaces and quotes; a narrow space inside a number is a comma.
_PLAIN: Final = str.maketrans(
    "\u2010\u2011\u2012\u2013\u2014\u2212\u00a0\u2007\u2009\u201c\u201d\u201e\u2018\u2019\u00d7", '------   """\'\'x'
)
_NARROW: Final = re.compile(r"(?<=\d)\u202f(?=\d{3}(?!\d))")
_ESCAPED: Final = re.compile(r"\\([\\\[\]<>*`|~$_#+=-])")
_GAP: Final = re.compile(r"[^a-z0-9]+")
_STEM: Final = re.compile(r"[a-z]{3,}")
_HUMP: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
STEM_CHARS: Final = 5


def normal(text: str) -> str:
    """With plain hyphens, spaces and quotes, and without the escapes of Markdown."""
    if not text.isascii():
        text = _NARROW.sub(",", text).translate(_PLAIN).replace("\u202f", " ").replace("\u2026", "...")
    return _ESCAPED.sub(r"\1", text) if "\\" in text else text


def squeezed(text: str) -> str:
    """Letters and digits alone; the text is in lower case."""
    return _GAP.sub("", text)


def stems(text: str) -> frozenset[str]:
    """The beginnings of its words, but of those that any sentence about an incident may have."""
    return frozenset(_stem(word) for word in _STEM.findall(_HUMP.sub(" ", text).lower()) if word not in UNSAID) - {""}


@lru_cache(maxsize=8192)
def _stem(word: str) -> str:
    return word[:STEM_CHARS]


_UNSAID_WORDS: Final = """
the and for are was were has have had been being this that these those with without from into onto its their there
here then than but not all any each every both some more most least less much many few other another same such only
just also very can could may might should would will shall must does did done doing which who whom whose what when
where why how between since until after before during while within about around over under above below again still now
first last next new old late later early earlier because therefore thus hence due cause causes caused causing result
results resulted means mean meaning show shows showed shown showing see seen say says said saying tell tells report
reports reported reporting indicate indicates indicated log logs logged logging line lines message messages event
events alert alerts metric metrics evidence record records runbook runbooks section pod pods service services
container containers workload workloads deployment node nodes namespace cluster kubernetes error errors warning
warnings failure failures fail fails failed failing problem problems issue issues incident time times minute minutes
second seconds hour hours once twice one two three four five six seven eight nine ten affected likely probably root
main most recent current currently happened happens occurred occurs began begins started starts starting start kept
keeps continued continues ongoing repeated repeatedly same different several upstream downstream whole entire
following similar single own our your you they them it's is in on at of to by as an be or if so no up out off per via
new failing broken healthy running ready primary replica database affected application app target source calling
dependent latest existing"""
UNSAID: Final = frozenset(_UNSAID_WORDS.split())

_ACRONYM_WORDS: Final = """
CPU RAM DNS HTTP HTTPS TLS SSL TCP UDP IP API APIs URL DB SQL OOM PVC PV SLO SLA SLI UTC GMT JVM GC ID IDs UI OS IO VM
QPS RPS TTL CNI CSI CRD RBAC JSON YAML HPA I/O SRE SLOs FAQ OK NOT AND OR TODO N/A MTU NIC DHCP AWS GCP EC2 AZ CI CD
POSIX SSH NFS SSD HDD NTP RPC gRPC SDK CLI GET POST PUT DELETE NB PS ETA TBD PDB KB MB GB KiB MiB GiB TiB"""
ACRONYMS: Final = frozenset(_ACRONYM_WORDS.split())

_COMMON_NAME_WORDS: Final = """
e.g i.e a.m p.m and/or i/o n/a client/server read/write tcp/ip kubernetes k8s ipv4 ipv6 http/1.1 http/2 h2 p50 p90 p95
p99 p99.9 deployment statefulset daemonset replicaset configmap cronjob job secret kubectl postgresql mysql github
javascript opensearch persistentvolume persistentvolumeclaim serviceaccount networkpolicy etcd kubelet ops devops sre
on-call back-end front-end e-mail log4j oauth2 x509 x.509 utf-8 base64 sha256 2xx mongodb graphql youtube linkedin pods
ids urls apis vms cpus slos gc's oom's macos linux unix node.js s3 failover timeout rollout grpc readme iops crds
pvcs"""
COMMON_NAMES: Final = frozenset(_COMMON_NAME_WORDS.split())

_FIRST_WORDS: Final = """
non pre re post auto self multi over under high low long short out in read write load rate cross well first second third
one two three four five six ten back end follow real full half all time up down on off ad so self-hosted user client
server cluster node pod namespace service container host error memory cpu disk network database connection request
response retry log event metric alert health start shut run set roll stand hard soft open closed wide near mid sub super
semi inter intra co de un anti best worst large small fast slow big single double dead stale old new per point round
root step state rule life cut clean warm cold hot dry fail still ever never by hand key man peer right left side
certificate image liveness readiness startup secret config resource storage volume ingress egress queue thread pool"""
COMPOUND_FIRST: Final = frozenset(_FIRST_WORDS.split())
_LAST_WORDS: Final = """
based related level side only wide up out in off on down lived running bound specific like free ready term scale time
over back through of to by ahead aware safe side end ended facing case case-by-case managed signed known defined driven
minute second hour day week long old new high low heavy intensive consuming blocking breaking sensitive dependent
independent compatible enabled disabled available unavailable exhausted exhaustion leak usage limit pressure pool
budget failure failures error errors timeout timeouts retry retries loop loops crash restart restarts check checks
probe probes signal signals rate rates line lines by-step call caller callers backed facing fast slow hoc name names
unit hand way ways fold sized size class per quo priori facto"""
COMPOUND_LAST: Final = frozenset(_LAST_WORDS.split())

# What stands behind "in", "of", "from" without being the name of a thing.
_PLAIN_NOUN_WORDS: Final = """
production total parallel turn general particular time detail practice question progress line place fact short summary
advance load memory space traffic customers users customer user case cases disk network data capacity state order part
course addition front effect itself them him her these those work hand theory total zero full average range rotation
sync queue quota code startup shutdown boot retry timeout backoff today yesterday noon midnight then there here store
host root storage cache money hardware software queries bytes core cores threads thread peak peaks quorum heap stack
slack swap credit room leader leaders peer peers worker workers web api app default monitoring logging test system
server client proxy jobs example sure good hours days weeks months"""
PLAIN_NOUNS: Final = frozenset(_PLAIN_NOUN_WORDS.split())

# Words for states that evidence puts in other words.
STANDS_IN: Final = {
    "oomkilled": re.compile(r"\boom|out of memory"),
    "oomkill": re.compile(r"\boom|out of memory"),
    "oom-killed": re.compile(r"\boom|out of memory"),
    "oom-kill": re.compile(r"\boom|out of memory"),
    "oom-killer": re.compile(r"\boom|out of memory"),
    "out-of-memory": re.compile(r"\boom|out of memory"),
    "crashloopbackoff": re.compile(r"back-?off|crash"),
    "crash-loop": re.compile(r"back-?off|crash"),
    "crash-looping": re.compile(r"back-?off|crash"),
    "imagepullbackoff": re.compile(r"errimage|imagepull|pulling image|pull image"),
    "errimagepull": re.compile(r"errimage|imagepull|pull image"),
    "5xx": re.compile(r"\b5\d\d\b|5xx"),
    "4xx": re.compile(r"\b4\d\d\b|4xx"),
}
