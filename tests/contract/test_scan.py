"""A full scan sees every document once, whatever the page, and its digest knows when one differs."""

import random
from collections.abc import Iterator

import pytest

from deploy.local.services import Endpoints
from processors.index import OpenSearchIndex, Write, connect
from processors.scan import digest_of, scan
from schemas.documents import Names, Target
from schemas.settings import OpenSearch

pytestmark = pytest.mark.integration
TARGETS = [Target("tallies", f"2026.11.{day}", f"t{n}") for day in (19, 20) for n in range(5)]


@pytest.fixture
def index(endpoints: Endpoints) -> Iterator[OpenSearchIndex]:
    settings = OpenSearch(url=endpoints.opensearch, prefix=f"scan{random.randrange(10**9)}")
    made = OpenSearchIndex(connect(settings), Names(settings.prefix, "gtest"), settings, dimensions=4)
    made.install()
    yield made
    made.request("DELETE", f"/{','.join(made.request('GET', f'/{settings.prefix}-*'))}")
    made.request("DELETE", f"/_index_template/{settings.prefix}-*")


def count(index: OpenSearchIndex, target: Target, number: int) -> None:
    index.ensure_days([target])
    index.bulk([Write(target=target, fixed={"rule": "r"}, delta={"slices": {"a/0/0": [number, number]}})])


def test_nothing_is_scanned_where_nothing_is(index: OpenSearchIndex) -> None:
    assert digest_of(scan(index)).documents == {}


def test_a_digest_does_not_depend_on_pages_but_on_every_document(index: OpenSearchIndex) -> None:
    for target in TARGETS:
        count(index, target, 1)
    found = dict(scan(index, page=3))
    assert sorted(found, key=str) == sorted(TARGETS, key=str)
    before = digest_of(scan(index, page=3))
    assert (before.documents, before.text) == ({"tallies": 10}, digest_of(found.items()).text)
    count(index, TARGETS[7], 2)
    assert digest_of(scan(index)).text != before.text
