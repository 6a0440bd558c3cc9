"""The questions over the recorded OpenShift installation and what each of their answers rests on."""

from collections.abc import Mapping
from typing import Any, Final

# Written from the recordings before any of them was asked. What each rests on:
#   pending     12 pods of openshift-monitoring and others: "... taint {node-role.kubernetes.io/master: }", 09:18-09:25
#   mount       FailedMount x 6, 09:18:45-09:19:01: the secret of its TLS certificate is not there yet
#   restarts    BackOff x 11 until 09:23:40; the previous container ended with "no matches for kind Route", 09:22:59
#   probe       41 failed readiness probes of the console until 09:31:44; it cannot reach the auth provider until 09:31
#   slow        586 x "apply request took too long" in etcd, 09:25:50-09:26:51
#   certificate 95 refused signing requests, 09:23-10:12, still going on at the end
#   progress    256 x "Cluster operator authentication is not available", 09:24:58-09:45:24, the longest of all
#   database    CPU at 14 % for days, 76 % at 06:52 and 66 % at 06:57 on 2014-04-13
#   member      UnhealthyEtcdMember x 4 at 09:27:00 and at 09:28:17
#   quiet       no line, event or alert of openshift-dns after 09:30
#   marketplace 8 FailedScheduling for each of four catalogues, 09:20:57-09:24:58: only masters are there
#   no-pods     17 FailedCreate of controller and node driver until 09:19:18: no service account yet
#   network     132 NetworkNotReady in multus and network-diagnostics, 09:18:32-09:27:50
#   registry    327 lines of the image registry operator, 09:20:27-09:23:33: its configuration does not exist yet
#   endpoints   222 lines of the authentication operator, 09:20:27-09:27:13
#   downloads   162 lines of the console operator, 09:25:38-09:26:54
#   lock        23 lines of kube-scheduler, 09:35:32-09:45:17: the API server on localhost refuses
#   leadership  "stopped leading" x 4 in the EBS driver's controller at 09:23:52, one BackOff with it
#   probes      some thirty failed probes of the three apiserver pods, 09:20:52-09:30:35
#   masters     "need at least 3 kube-apiservers, got 2", 09:38:46-09:45:26, what the installation waits for at last
#   machines    FailedCreate of two Machine objects, 09:21:47 and 09:22:57
#   package     24 lines of olm-operator, 09:21:51-09:22:57
#   long-past   the same as restarts, asked an hour later about its minutes
#   steps       the same again: what a runbook says about crash loops
#   not-yet     the first "took too long" of etcd is of 09:25:50
#   unknown     nothing called payments is anywhere in the recording
#   ingress     no line and no event of openshift-ingress after 09:50
#   flat        the database's CPU is between 12.6 and 15.4 % on 2014-04-11
TASKS: Final[tuple[Mapping[str, Any], ...]] = (
    {
        "id": "pending",
        "group": "events",
        "question": "Several pods in openshift-monitoring have been pending for minutes. What keeps them?",
        "now": "2021-08-03T09:25:05Z",
        "expect": [{"kind": "evidence", "signal": "event", "regex": r"node-role\.kubernetes\.io/master.*tolerate"}],
    },
    {
        "id": "mount",
        "group": "events",
        "question": "machine-api-operator hangs in ContainerCreating, what is it waiting for?",
        "now": "2021-08-03T09:19:10Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r'secret "machine-api-operator-tls" not found'},
            {"kind": "object", "name": "machine-api-operator"},
        ],
    },
    {
        "id": "restarts",
        "group": "events",
        "question": "Why does ingress-operator keep restarting?",
        "now": "2021-08-03T09:24:00Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"BackOff Pod/ingress-operator"},
            {"kind": "evidence", "signal": "log", "regex": r"no matches for kind .{0,2}Route"},
        ],
    },
    {
        "id": "probe",
        "group": "events",
        "question": "The web console has been unavailable for five minutes, what is wrong with the console pods?",
        "now": "2021-08-03T09:32:00Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"Pod/console-\w+-\w+: Readiness probe.*refused"},
            {"kind": "evidence", "signal": "log", "regex": r"error contacting auth provider"},
        ],
    },
    {
        "id": "slow",
        "group": "logs",
        "question": "API calls are sluggish. Does etcd have a performance problem?",
        "now": "2021-08-03T09:27:10Z",
        "expect": [
            {"kind": "evidence", "signal": "log", "regex": r"took too long"},
            {"kind": "object", "name": "etcd"},
        ],
    },
    {
        "id": "certificate",
        "group": "logs",
        "question": "pod-identity-webhook is not getting its TLS certificate, who refuses it?",
        "now": "2021-08-03T10:12:30Z",
        "scope": {"namespaces": ["openshift-cloud-credential-operator"]},
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"(?i)certificatesigningrequests\S* is forbidden"}],
        "forbid": [r"Skipping invalid IP", r"error running apply", r"openshift-(?:sdn|etcd)\b"],
    },
    {
        "id": "progress",
        "group": "logs",
        "question": "The cluster installation does not finish. Which component is holding it up?",
        "now": "2021-08-03T09:43:00Z",
        "expect": [
            {"kind": "evidence", "signal": "log", "regex": r"(?i)operator.{1,3}authentication.{1,60}not available"},
        ],
        "forbid": [r"T09:4[4-9]", r"T09:5"],
    },
    {
        "id": "database",
        "group": "metrics",
        "question": "Did our RDS instance run hot this morning?",
        "now": "2014-04-13T07:20:00Z",
        "expect": [{"kind": "evidence", "signal": "metric", "regex": r"aws_rds_cpuutilization.* to 76"}],
    },
    {
        "id": "member",
        "group": "runbooks",
        "question": "etcd-operator says that one of the masters dropped out of the quorum. How do I get it back?",
        "now": "2021-08-03T09:28:30Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"UnhealthyEtcdMember.*ip-10-0-189-142"},
            {"kind": "runbook", "path": "prometheus-operator/etcd/etcdMembersDown.md"},
        ],
    },
    {
        "id": "quiet",
        "group": "abstain",
        "question": "Is anything wrong in openshift-dns right now?",
        "now": "2021-08-03T10:05:00Z",
        "expect": [],
        "abstain": True,
    },
    {
        "id": "marketplace",
        "group": "events",
        "question": "community-operators and redhat-operators stay Pending in openshift-marketplace, why?",
        "now": "2021-08-03T09:25:02Z",
        "expect": [
            {
                "kind": "evidence",
                "signal": "event",
                "regex": r"(?:community|redhat)-operators.*node-role\.kubernetes\.io/master",
            }
        ],
    },
    {
        "id": "no-pods",
        "group": "events",
        "question": "No pod is created for aws-ebs-csi-driver-controller, what is missing?",
        "now": "2021-08-03T09:19:20Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"FailedCreate .*error looking up service account"},
            {"kind": "object", "name": "aws-ebs-csi-driver-controller"},
        ],
    },
    {
        "id": "network",
        "group": "events",
        "question": "Why does network-metrics-daemon not come up?",
        "now": "2021-08-03T09:20:00Z",
        "expect": [{"kind": "evidence", "signal": "event", "regex": r"network is not ready"}],
    },
    {
        "id": "registry",
        "group": "logs",
        "question": "What is the image registry operator unable to sync?",
        "now": "2021-08-03T09:23:30Z",
        "expect": [
            {
                "kind": "evidence",
                "signal": "log",
                "regex": r"imageregistry\.operator\.openshift\.io .{0,2}cluster.{0,2} not found",
            },
            {"kind": "object", "name": "cluster-image-registry-operator"},
        ],
    },
    {
        "id": "endpoints",
        "group": "logs",
        "question": "authentication-operator keeps failing to reconcile, what is not ready?",
        "now": "2021-08-03T09:27:00Z",
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"oauth service endpoints are not ready"}],
    },
    {
        "id": "downloads",
        "group": "logs",
        "question": "People cannot reach the downloads page of the console. What is the operator complaining about?",
        "now": "2021-08-03T09:26:50Z",
        "expect": [
            {"kind": "evidence", "signal": "log", "regex": r"downloads.{0,3} is not available at canonical host"}
        ],
    },
    {
        "id": "lock",
        "group": "logs",
        "question": "Does openshift-kube-scheduler have trouble with its leader election?",
        "now": "2021-08-03T09:45:20Z",
        "expect": [
            {
                "kind": "evidence",
                "signal": "log",
                "regex": r"error retrieving resource lock.*cert-recovery-controller-lock",
            },
        ],
    },
    {
        "id": "leadership",
        "group": "logs",
        "question": "aws-ebs-csi-driver-controller was restarted a minute ago. Why?",
        "now": "2021-08-03T09:24:30Z",
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"stopped leading"}],
    },
    {
        "id": "probes",
        "group": "events",
        "question": "Are the apiserver pods in openshift-apiserver ready?",
        "now": "2021-08-03T09:29:40Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"Pod/apiserver-\S+ (?:Liveness|Readiness) probe"},
            {"kind": "object", "name": "apiserver"},
        ],
    },
    {
        "id": "masters",
        "group": "logs",
        "question": "Why is the authentication operator still degraded? What does it wait for?",
        "now": "2021-08-03T09:44:50Z",
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"need at least \d+ kube-apiservers, got"}],
    },
    {
        "id": "machines",
        "group": "events",
        "question": "One of the worker machines was not created. What failed?",
        "now": "2021-08-03T09:23:10Z",
        "expect": [
            {"kind": "evidence", "signal": "event", "regex": r"FailedCreate Machine/.*failed to Create machine"}
        ],
    },
    {
        "id": "package",
        "group": "logs",
        "question": "Is olm-operator healthy?",
        "now": "2021-08-03T09:23:00Z",
        "expect": [
            {
                "kind": "evidence",
                "signal": "log",
                "regex": r"packageserver.{0,3} failed: the server is currently unable",
            }
        ],
    },
    {
        "id": "long-past",
        "group": "past",
        "question": "What was wrong with ingress-operator between 09:22 and 09:24 UTC?",
        "now": "2021-08-03T10:12:30Z",
        "expect": [{"kind": "evidence", "signal": "log", "regex": r"no matches for kind .{0,2}Route"}],
        "forbid": [r"error contacting auth provider", r"took too long"],
    },
    {
        "id": "steps",
        "group": "runbooks",
        "turns": [
            {"role": "user", "content": "Why does ingress-operator keep restarting?"},
            {"role": "assistant", "content": "Its container ends again and again."},
            {"role": "user", "content": "And what do I do about a pod in a crash loop?"},
        ],
        "now": "2021-08-03T09:24:00Z",
        "expect": [{"kind": "runbook", "path": "prometheus-operator/kubernetes/KubePodCrashLooping.md"}],
    },
    {
        "id": "not-yet",
        "group": "past",
        "question": "API calls are sluggish. Does etcd have a performance problem?",
        "now": "2021-08-03T09:25:00Z",
        "expect": [],
        "forbid": [r"took too long"],
    },
    {
        "id": "unknown",
        "group": "abstain",
        "question": "Why is the payments service slow?",
        "now": "2021-08-03T10:05:00Z",
        "expect": [],
        "abstain": True,
    },
    {
        "id": "ingress",
        "group": "abstain",
        "question": "any problems in openshift-ingress in the last 10 minutes?",
        "now": "2021-08-03T10:05:00Z",
        "expect": [],
        "abstain": True,
    },
    {
        "id": "flat",
        "group": "abstain",
        "question": "Did our RDS instance run hot this morning?",
        "now": "2014-04-11T07:20:00Z",
        "expect": [],
        "abstain": True,
    },
)
