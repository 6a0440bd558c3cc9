"""What a policy file grants, and in which words a wrong one is refused."""

from hashlib import sha256
from pathlib import Path

import pytest

from api.policy import Policy, PolicyWrong, changed, overlap, read_policy
from schemas.access import Quota
from schemas.context import Grant, Scope

KEY = sha256(b"a-key").hexdigest()
EXAMPLE = Path(__file__).parents[2] / "deploy" / "policy.example.yaml"
POLICY = f"""
groups:
  pay:
    grants: [{{clusters: [prod], namespaces: [pay, "pay-*"]}}]
    quota: {{requests_per_minute: 10, tokens_per_minute: 500}}
  sre: {{grants: [{{}}], quota: {{requests_per_minute: 60}}}}
keys:
  - {{name: bot, sha256: {KEY}, groups: [pay]}}
  - name: ci
    secret_file: ci.key
    grants: [{{namespaces: ["*"], cluster_objects: false}}]
    quota: {{requests_per_minute: 0}}
users:
  ann@example.org: {{groups: [sre], quota: {{tokens_per_minute: 9}}}}
authenticated: {{grants: [{{namespaces: [public]}}]}}
"""


def policy(tmp_path: Path, text: str = POLICY) -> Policy:
    (tmp_path / "ci.key").write_text("a-key-from-a-mounted-secret\n")
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return read_policy(path, Quota(requests=5, tokens=1000))


PUBLIC = Grant(namespaces=("public",), cluster_objects=False)
PAY = Grant(clusters=("prod",), namespaces=("pay", "pay-*"), cluster_objects=False)


@pytest.mark.parametrize(
    ("name", "aliases", "groups", "grants", "known", "quota"),
    [
        ("id-1", (), (), (PUBLIC,), (), Quota(requests=5, tokens=1000)),
        ("id-1", (), ("pay", "unheard-of"), (PUBLIC, PAY), ("pay",), Quota(requests=10, tokens=500)),
        ("id-1", ("ann@example.org",), (), (PUBLIC, Grant()), ("sre",), Quota(requests=60, tokens=9)),
        ("ann@example.org", (), ("pay",), (PUBLIC, PAY, Grant()), ("pay", "sre"), Quota(requests=60, tokens=9)),
    ],
)
def test_users_get_what_they_all_their_groups_and_everyone_gets(
    tmp_path: Path,
    name: str,
    aliases: tuple[str, ...],
    groups: tuple[str, ...],
    grants: tuple[Grant, ...],
    known: tuple[str, ...],
    quota: Quota,
) -> None:
    user = policy(tmp_path).user("user", name, aliases, groups)
    assert (set(user.scope.grants), user.groups, user.quota) == (set(grants), known, quota)


def test_keys_are_known_by_hash_or_by_a_mounted_file(tmp_path: Path) -> None:
    read = policy(tmp_path)
    bot, ci = read.key_of(b"a-key"), read.key_of(b"a-key-from-a-mounted-secret")
    assert bot is not None
    assert ci is not None
    assert [read.key_of(given) for given in (b"a-key ", KEY.encode(), b"")] == [None, None, None]
    assert read.key(bot).scope.grants == (PAY,)
    assert read.key(ci).scope.grants == (Grant(cluster_objects=False),)
    assert read.key(ci).quota == Quota(requests=0, tokens=1000)
    assert read.anonymous().scope.grants == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [", "not YAML at line"),
        ("a: {b: 1, b: 2}", "'b' stands twice"),
        ("group: {}", "group: Extra inputs"),
        ("a: 2001-99-99", "cannot be understood: month must be"),
        ("[" * 5000, "cannot be understood"),
        ("- a", "the whole: Input should be"),
        ("groups: {a: {grants: [{namespace: [x]}]}}", "groups.a.grants[0].namespace: Extra inputs"),
        (
            "groups: {a: {grants: [{namespaces: [no]}]}}",
            "groups.a.grants[0].namespaces[0]: Input should be a valid string",
        ),
        ("groups: {a: {grants: [{namespaces: ['a*b']}]}}", "namespaces[0]: a * may only stand at the end"),
        ("groups: {a: {grants: [{namespaces: ['']}]}}", "namespaces[0]: a name is 1 to 253 characters"),
        ("groups: {a: {grants: [{clusters: prod}]}}", "groups.a.grants[0].clusters: Input should be a valid list"),
        ("groups: {a: {quota: {requests_per_minute: -1}}}", "groups.a.quota.requests_per_minute: Input should be"),
        ("authenticated: {groups: [x]}", "authenticated.groups[0]: there is no group 'x'"),
        ("keys: [{name: a}]", "keys[0]: give either sha256 or secret_file"),
        ("keys: [{name: a, sha256: abc}]", "keys[0].sha256: String should match"),
        ("keys: [{name: a, secret_file: gone.key}]", "keys[0].secret_file: "),
        (f"keys: [{{name: a, sha256: {KEY}}}, {{name: b, sha256: {KEY}}}]", "keys[1]: this key is listed twice"),
        (f"keys: [{{name: a, sha256: {KEY}}}, {{name: a, secret_file: ci.key}}]", "keys[1].name: another key is named"),
    ],
)
def test_a_wrong_policy_is_one_line_that_names_the_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PolicyWrong) as caught:
        policy(tmp_path, text)
    (line,) = str(caught.value).splitlines()
    assert said in line
    assert str(tmp_path) in line


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (Grant(), PAY, [PAY]),
        (PAY, Grant(cluster_objects=False), [PAY]),
        (Grant(namespaces=("a*",)), Grant(namespaces=("ab", "b", "abc*")), [Grant(namespaces=("ab", "abc*"))]),
        (Grant(namespaces=("a",)), Grant(namespaces=("b",)), []),
        (Grant(clusters=("x",)), Grant(clusters=("y",)), []),
        (Grant(clusters=("x",)), Grant(namespaces=("a",)), [Grant(clusters=("x",), namespaces=("a",))]),
        (Grant(namespaces=("a*",)), Grant(namespaces=("a*",)), [Grant(namespaces=("a*",))]),
    ],
)
def test_two_scopes_overlap_in_what_both_grant(one: Grant, other: Grant, both: list[Grant]) -> None:
    assert list(overlap(Scope(grants=(one,)), Scope(grants=(other,))).grants) == both
    assert list(overlap(Scope(grants=(other,)), Scope(grants=(one,))).grants) == both


def test_a_change_of_the_file_or_of_a_secret_is_seen(tmp_path: Path) -> None:
    read = policy(tmp_path)
    assert changed(read) is None
    (tmp_path / "ci.key").write_text("another-key-from-a-secret")
    assert changed(read)
    (tmp_path / "policy.yaml").unlink()
    assert changed(read) == ()


def test_the_example_is_a_policy(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("/run/secrets/freshet-ci-key", "ci.key")
    assert policy(tmp_path, text).file.groups
