"""The workload of a pod must be one name, whoever tells of the pod."""

import pytest

from processors.decode.workload import workload_of

NODE = "ip-10-0-1-2.ec2.internal"


@pytest.mark.parametrize(
    ("pod", "kind", "owner", "node", "workload"),
    [
        ("payment-6c8f9d7b5-x2k4z", "ReplicaSet", "payment-6c8f9d7b5", "", "payment"),
        ("payment-6c8f9d7b5-x2k4z", "Deployment", "payment", "", "payment"),
        ("web-7d9f-abcde", "ReplicaSet", "web-7d9f", "", "web"),  # a short hash is rare but real
        ("card-service-v2-7d4b9c6f8d-q9w2z", "ReplicaSet", "card-service-v2-7d4b9c6f8d", "", "card-service-v2"),
        ("cart-0", "StatefulSet", "cart", "", "cart"),
        ("cart-12", "StatefulSet", "cart", "n1", "cart"),
        ("node-agent-gsv9b", "DaemonSet", "node-agent", "", "node-agent"),
        ("migrate-x2k4z", "Job", "migrate", "", "migrate"),
        ("backup-29920080-x2k4z", "Job", "backup-29920080", "", "backup"),
        ("backup-29920080--1-x2k4z", "Job", "backup-29920080", "", "backup"),
        (f"etcd-{NODE}", "Node", NODE, NODE, "etcd"),
        ("kube-apiserver-master-1", "Node", "master-1", "master-1", "kube-apiserver"),
        (f"installer-3-{NODE}", "Node", NODE, NODE, "installer"),
        ("catalog-x2k4z", "CatalogSource", "catalog", "", "catalog"),
        ("toolbox", "", "", "", "toolbox"),
        ("a" * 49 + "-6c8f9d7bx2k4z", "", "", "", "a" * 49),  # 63 characters: the generated name was cut
    ],
)
def test_owner_and_name_alone_agree(pod: str, kind: str, owner: str, node: str, workload: str) -> None:
    assert workload_of(pod, kind, owner, node) == workload
    assert workload_of(pod, node=node) == workload
    assert workload_of(pod) == workload


@pytest.mark.parametrize("pod", ["debug-shell", "redis-primary", "x", "-", "", "web-2-canary", "job-runner"])
def test_words_are_not_taken_for_generated_suffixes(pod: str) -> None:
    assert workload_of(pod) == pod


@pytest.mark.parametrize(
    ("kind", "name", "workload"),
    [
        ("ReplicaSet", "web-6c8f9d7b5", "web"),
        ("Job", "backup-29920080", "backup"),
        ("StatefulSet", "kafka-1", "kafka-1"),
    ],
)
def test_an_owner_without_a_pod_is_named_by_the_same_rules(kind: str, name: str, workload: str) -> None:
    assert workload_of("", kind, name) == workload
