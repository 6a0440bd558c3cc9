"""Which questions may share an answer. A wrong yes is a wrong answer, a wrong no only costs time."""

import pytest

from cag.memory.same_question import meant, normalised, same_meaning


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I fix KubePodCrashLooping?", "how can we resolve KubePodCrashLooping"),
        ("How do I fix KubePodCrashLooping?", "Please tell me the steps to mitigate KubePodCrashLooping."),
        ("how to fix etcd no leader", "etcd no leader: what should I do about it?"),
        ("What does NodeClockSkew mean?", "can you explain NodeClockSkew to me"),
        ("What causes high CPU throttling?", "why is there high cpu throttling"),
        ("How do I diagnose a full disk?", "how to troubleshoot a full disk"),
        ("How do I restore etcd from a backup?", "what is the procedure to restore etcd from a backup"),
    ],
)
def test_other_words_for_the_same(one: str, other: str) -> None:
    assert same_meaning(one, other)
    assert same_meaning(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("How do I fix etcdMembersDown?", "How do I fix etcdNoLeader?"),
        ("How do I fix KubePodCrashLooping?", "How do I fix KubePodNotReady?"),
        ("how to fix pod not ready", "how to fix node not ready"),
        ("how to fix pod not ready", "how to fix pod ready"),
        ("what to do when memory is high", "what to do when memory is low"),
        ("how to enable the alert X9", "how to disable the alert X9"),
        ("how do I start kubelet", "how do I stop kubelet"),
        ("how to increase the quota", "how to decrease the quota"),
        ("what should I do before the upgrade", "what should I do after the upgrade"),
        ("how to move from redis to kafka", "how to move from kafka to redis"),
        ("how to restart redis while kafka is down", "how to restart kafka while redis is down"),
        ("fix disk at 80% usage", "fix disk at 90% usage"),
        ("how to handle a critical TargetDown", "how to handle a warning TargetDown"),
        ("How do I fix TargetDown?", "What does TargetDown mean?"),
        ("How do I fix TargetDown?", "How do I diagnose TargetDown?"),
        ("how to fix TargetDown in staging", "how to fix TargetDown in production"),
        ("how to fix TargetDown in staging", "how to fix TargetDown"),
        ("who fixes TargetDown?", "how to fix TargetDown?"),
        ("is TargetDown firing?", "TargetDown?"),  # no purpose that we know: only the very same question will do
        ("how do I fix it?", "how do I resolve that?"),  # about what?
        ("how to fix mysql", "how to fix postgres"),
        ("wie behebe ich Überlast", "wie behebe ich Unterlast"),
        ("", ""),
    ],
)
def test_near_misses(one: str, other: str) -> None:
    assert not same_meaning(one, other)
    assert not same_meaning(other, one)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("  How do  I fix X? ", "how do i fix x"),
        ("how do i fix X!", "how do i fix x"),
        ("isn\u2019t it", "isn't it"),
        ("don't fix x", "don't fix x"),
        ("fix x < 5", "fix x < 5"),
    ],
)
def test_the_same_question_however_it_is_typed(text: str, same: str) -> None:
    assert normalised(text) == same


def test_a_long_question_costs_little() -> None:
    assert len(meant("a-b_" * 20_000 + "not " * 1_000).content) < 10
