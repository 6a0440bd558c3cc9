"""Words of a text, and an index that is replaced row by row finds what a fresh one finds."""

from collections import Counter

import pytest

from cag.word_index import WordIndex, spaced, words

TEXTS = ["pod crash loop", "disk full", "pod disk pressure", "pod pod pod"]


def indexed(texts: dict[int, str], rows: int) -> WordIndex:
    return WordIndex(k1=1.2, b=0.75).replaced({}, {row: Counter(t.split()) for row, t in texts.items()}, rows)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("KubePodCrashLooping", ("kube", "pod", "crash", "loop", "kubepodcrashlooping")),
        ("KubeAPIDown", ("kube", "api", "down", "kubeapidown")),
        ("db-timeout_errors/x.y", ("db", "timeout", "error", "dbtimeouterrors", "x", "y")),
        ("What is the cause of it", ("cause",)),
        ("", ()),
    ],
)
def test_words(text: str, found: tuple[str, ...]) -> None:
    assert words(text) == found


def test_names_as_words() -> None:
    assert spaced("KubeAPIDown in kubelet") == "Kube API Down in kubelet"


def test_rows_that_are_replaced_leave_the_others_as_they_were() -> None:
    before = indexed(dict(enumerate(TEXTS)), 4)
    scores = before.scores(["pod", "disk"]).tolist()
    made = before.replaced({1: ["disk", "full"], 3: ["pod"]}, {1: {"etcd": 1.0, "pod": 2.0}, 5: {"disk": 1.0}}, 6)
    fresh = indexed({0: TEXTS[0], 1: "etcd pod pod", 2: TEXTS[2], 5: "disk"}, 6)
    for query in (["pod"], ["disk", "full"], ["etcd", "pressure", "zebra"], []):
        assert made.scores(query).tolist() == fresh.scores(query).tolist()
    assert "full" not in made.postings
    assert before.scores(["pod", "disk"]).tolist() == scores
