import base64
import random
import string
import time
from dataclasses import replace
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from processors.redact import _ZEROS, Redactor, _exact, _gates
from processors.redact_records import RecordRedactor
from processors.redact_rules import TOKENS as RULES
from processors.template import template
from schemas.records import Alert, Resource
from schemas.settings import ExtraRule, Redaction
from tests.redaction import recall

REDACT = Redactor(Redaction())
ALNUM, UPPER, HEX = string.ascii_letters + string.digits, string.ascii_uppercase + string.digits, "0123456789abcdef"
# Made here, so that no scanner of this repository finds one: prefix, alphabet, length behind the prefix, placeholder.
TOKENS = [
    ("AKIA", UPPER, 16, "aws-key"),
    ("ghp_", ALNUM, 36, "github-token"),
    ("github_pat_", ALNUM, 82, "github-token"),
    ("glpat-", ALNUM, 20, "gitlab-token"),
    ("xoxb-12345678901-", ALNUM, 24, "slack-token"),
    ("sk_live_", ALNUM, 24, "stripe-key"),
    ("AIza", ALNUM, 35, "google-key"),
    ("ya29.", ALNUM, 60, "google-key"),
    ("abc8Q~", ALNUM, 34, "azure-key"),
    ("npm_", ALNUM, 36, "npm-token"),
    ("pypi-AgEIcHlwaS5vcmc", ALNUM, 60, "pypi-token"),
    ("dckr_pat_", ALNUM, 27, "docker-token"),
    ("sk-proj-", ALNUM, 40, "openai-key"),
    ("sk-ant-api03-", ALNUM, 90, "openai-key"),
    ("hf_", ALNUM, 34, "model-hub-token"),
    ("SK", HEX, 32, "twilio-key"),
    ("SG." + "a1B2" * 5 + "ab.", ALNUM, 43, "mail-key"),
    ("dop_v1_", HEX, 64, "digitalocean-token"),
    ("hvs.", ALNUM, 24, "vault-token"),
    ("dapi", HEX, 32, "databricks-token"),
    ("123456789:AA", ALNUM, 33, "telegram-token"),
    ("MTIzNDU2Nzg5MDEyMzQ1Njc4.Gh1x2Y.", ALNUM, 27, "discord-token"),
    ("shpat_", HEX, 32, "shop-token"),
    ("glsa_", ALNUM, 32, "monitoring-token"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.", ALNUM, 43, "jwt"),
]
CONTEXTS = ["{}", "using {} now", 'x="{}"', "({})", "https://h/p?k={}&a=1", '{{"k":"{}"}}', "a:{},", "[{}]", "got {}!"]


def token(prefix: str, alphabet: str, length: int, seed: int = 0) -> str:
    """Random, but with both cases and a digit where the alphabet has them, as almost all of that length have."""
    sure = "".join(a for a in "aB1" if a in alphabet)
    return prefix + sure + "".join(random.Random(seed).choices(alphabet, k=length - len(sure)))


@pytest.mark.parametrize(("prefix", "alphabet", "length", "name"), TOKENS, ids=[t[0] for t in TOKENS])
def test_tokens_of_providers_anywhere(prefix: str, alphabet: str, length: int, name: str) -> None:
    for seed, context in enumerate(CONTEXTS):
        secret = token(prefix, alphabet, length, seed)
        assert REDACT(context.format(secret)) == context.format(f"<redacted:{name}>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("password=hunter2", "password=<redacted:password>"),
        ("Password: hunter2", "Password: <redacted:password>"),
        ("spring:\n  password: correcthorse\n", "spring:\n  password: <redacted:password>\n"),
        ('{"password": "my long pass", "a": 1}', '{"password": "<redacted:password>", "a": 1}'),
        (r'{\"password\":\"x1\",\"a\":1}', r'{\"password\":\"<redacted:password>\",\"a\":1}'),
        (r'"passwd":"with \" inside" b', '"passwd":"<redacted:password>" b'),
        ("{'api_key': 'abcd'}", "{'api_key': '<redacted:secret>'}"),
        ("password='a b c' x", "password='<redacted:password>' x"),
        ('password="cut off in the mid', 'password="<redacted:password>'),
        ("DB_PASSWORD=abc,def!g u=x", "DB_PASSWORD=<redacted:password> u=x"),
        ("pwd=a1b2,user=bob", "pwd=<redacted:password>,user=bob"),
        ("Server=db;Password=p@ss;Database=x", "Server=db;Password=<redacted:password>;Database=x"),
        ("run --password s3cret --user bob", "run --password <redacted:password> --user bob"),
        ("curl -u bob:hunter2 https://x", "curl -u bob:<redacted:password> https://x"),
        ("IDENTIFIED BY 'abc'", "IDENTIFIED BY '<redacted:password>'"),
        ("<password>abc</password>", "<password><redacted:password></password>"),
        ("client_secret=550e8400-e29b-41d4-a716-446655440000", "client_secret=<redacted:secret>"),
        ("aws_secret_access_key = wJalr/K7MDENG+bPx", "aws_secret_access_key = <redacted:secret>"),
        ("AccountKey=abc/def+ghi==;Endpoint=x", "AccountKey=<redacted:secret>;Endpoint=x"),
        ("X-Api-Key: 12ab34cd56", "X-Api-Key: <redacted:secret>"),
        ("/cb?token=abcd1234&x=1", "/cb?token=<redacted:secret>&x=1"),
        ("postgres://u:p@ss!w@db:5432/x", "postgres://u:<redacted:password>@db:5432/x"),
        ("redis://:pw123@redis:6379", "redis://:<redacted:password>@redis:6379"),
        ("Authorization: Bearer abcdef123456", "Authorization: Bearer <redacted:authorization>"),
        ("authorization=Basic dXNlcjpwYXNz", "authorization=Basic <redacted:authorization>"),
        ("Cookie: sid=abc; x=y", "Cookie: <redacted:cookie>"),
        ("mail bob.smith+x@example.co.uk ok", "mail <redacted:email> ok"),
        ("card 4111 1111 1111 1111 ok", "card <redacted:card> ok"),
        ("card 4111111111111111 378282246310005", "card <redacted:card> <redacted:card>"),
        ("a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb", "a\n<redacted:private-key>\nb"),
        ("a -----BEGIN PRIVATE KEY-----\nMIIabc\ndef==", "a <redacted:private-key>"),
        (r"k=-----BEGIN EC PRIVATE KEY-----\nMII\n-----END EC PRIVATE KEY-----\n", r"k=<redacted:private-key>\n"),
        (token("", ALNUM, 64), "<redacted:private-key>"),  # one line of a key's body
    ],
)  # fmt: skip
def test_secrets_known_by_their_surroundings(text: str, expected: str) -> None:
    assert REDACT(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "token expired",
        "password incorrect for user bob",
        'secret "tls-cert" not found',
        "Error: secret: default/my-tls not found",
        "secret=kube-system/my-secret err=gone",
        "references non-existent secret key: tls.crt",
        "Invalid token: unexpected end of input",
        "Failed to fetch token: Get https://vault:8200 timeout",
        "Invalid credentials: user not found",
        "image sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "trace_id=4bf92f3577b34da6a3ce929d0e0e4736 uuid 550e8400-e29b-41d4-a716-446655440000",
        "PWD=/root/app pass: 5 failed=0 max_tokens: 4096 tokens=500",
        "git@github.com:org/repo.git getty@tty1.service left-pad@1.2.3",
        "at 1718000000000 and 1718000000000000 block 4110011001100111",
        "key=value primary_key=id monkey=banana bypass=true",
        "secretName: my-secret tokenExpirationSeconds: 3607",
        "password=**** token=null secret=${DB_SECRET} api_key=[REDACTED]",
        "token=/var/run/secrets/kubernetes.io/serviceaccount/token",
        "Bearer token missing, basic authentication failed (auth:SIMPLE)",
        "the --password flag is required",
        "-----BEGIN CERTIFICATE----- https://host:8080/a@b task-sk-frontend-worker-pool-a",
        "from 10.0.0.1 port 22, via fe80::1",
    ],
)
def test_words_and_identifiers_stay(text: str) -> None:
    assert REDACT(text) == text


def test_addresses_by_setting() -> None:
    redact = Redactor(Redaction(ip_addresses=True))
    assert redact("from 10.0.0.1:22, [fe80::1] at 10:00:01 v1.2.3.4.5 999.1.1.1 std::vec") == (
        "from <redacted:ip>:22, [<redacted:ip>] at 10:00:01 v1.2.3.4.5 999.1.1.1 std::vec"
    )
    assert redact.identity != REDACT.identity == Redactor(Redaction()).identity


@pytest.mark.parametrize(("word", "number"), _exact(RULES), ids=[word for word, _ in _exact(RULES)])
def test_gates_open_for_every_literal(word: str, number: int) -> None:
    """Whatever a match holds behind its literal: each is followed by more of the token than a gate looks at."""
    if not RULES[number].run:
        token = f"'{word}a1B2c3D4e5F6g7H8i9J0"
        assert any(gate.search(token) for _, gate, literals, _ in _gates(RULES) if (word, number) in literals)
        zeroed = token.translate(_ZEROS)
        assert any(gate.search(zeroed) for _, gate, literals, _ in _gates(RULES, _ZEROS) if (word, number) in literals)


def test_what_is_remembered_of_clean_lines_hides_nothing() -> None:
    """The same texts in any order, after others that differ in digits only: a fresh redactor says the same."""
    warm, digits = Redactor(Redaction()), str.maketrans("0123456789", "7301948265")
    texts = [text for each in recall.plant(5, 24) for text in each.messages]
    for text in texts:
        warm(text.translate(digits))
    assert [warm(text) for text in texts] == [Redactor._redacted(warm, text, 2) for text in texts]


def test_a_few_secrets_of_every_family_in_every_shape() -> None:
    redact = Redactor(recall.SETTINGS)
    for held_out in (False, True):
        for name, row in recall.measure(recall.plant(3, 48, held_out=held_out), redact).items():
            # The last line of a key that comes line by line may be too short to be told from a word, and the names
            # of people are hidden where a key says so, not in every shape.
            if name != "pem, a line a message" and "name" not in name:
                assert not row.missed, (name, row.examples)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data: " + base64.b64encode(b"user: bob\npassword: hunter2\n").decode(), "data: <redacted:encoded>"),
        ("data: " + base64.b64encode(b"nothing to see here, move along").decode(), None),
        (
            "v: " + base64.b64encode(base64.b64encode(b"password=hunter2 wrapped twice")).decode(),
            "v: <redacted:encoded>",
        ),
        ("next=" + quote("/cb?token=abcd1234", safe=""), "next=%2Fcb%3Ftoken%3D<redacted:secret>"),
        ("from=" + quote("bob@example.com&x=1", safe=""), "from=<redacted:email>&x=1"),
        ("/search?q=50%25+off&tag=a%2Fb", None),
        ("GET /pods?continue=" + base64.b64encode(b'{"v":"meta.k8s.io/v1","rv":1}').decode(), None),
        ("SpanID: 4111111111111111", None),
        ('password="$tFJAeo4Wx1kY6Eb9w" pwd=$DB_PASSWORD_2', 'password="<redacted:password>" pwd=$DB_PASSWORD_2'),
        ("==\n-----END OPENSSH PRIVATE KEY-----", "<redacted:private-key>"),
        ("def456==\n-----END RSA PRIVATE KEY-----\ndone", "<redacted:private-key>\ndone"),
        ("postgres://bob:a/b+c@db/x http://h:8080/a@b", "postgres://bob:<redacted:password>@db/x http://h:8080/a@b"),
        ('object-"shop"/"cookie-secret": watch of *v1.Secret ended', None),
    ],
)
def test_wrappings_and_what_looks_like_them(text: str, expected: str | None) -> None:
    assert REDACT(text) == (text if expected is None else expected)


def test_names_by_setting() -> None:
    redact = Redactor(Redaction(names=True))
    assert redact('user=bob "login": "ann.lee" user root is out') == (
        'user=<redacted:name> "login": "<redacted:name>" user root is out'
    )
    assert redact("Accepted password for bob from 10.0.0.1") == "Accepted password for <redacted:name> from 10.0.0.1"
    assert REDACT("user=bob") == "user=bob"


def test_rules_of_ones_own() -> None:
    redact = Redactor(Redaction(extra=(ExtraRule(name="ours", regex=r"acme_(?P<secret>[a-z0-9]{8,40})"),)))
    assert redact("with acme_0123456789 and acme_x") == "with acme_<redacted:ours> and acme_x"
    assert redact.identity != REDACT.identity


@pytest.mark.parametrize(
    ("regex", "told"),
    [
        ("a{0,3}", "matches the empty text"),
        ("(", "no regular expression"),
        ("x.*y", "quadratic"),
        ("x[a-z]+y", "quadratic"),
        ("x{2,}", "quadratic"),
        ("(a{1,9})+b", "exponential"),
        ("(?:ab){1,9}", "exponential"),
        ("a{1,300}b{1,300}c", "multiply"),
    ],
)
def test_rules_that_could_take_for_ever_are_refused(regex: str, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ExtraRule(name="ours", regex=regex)


@pytest.mark.parametrize("regex", [r"a\+b\*", "[+*]x", "x[a-z]++y", "a?b", r"\d{4}-\d{4}", "(?:foo|bar)=[a-z]{1,40}"])
def test_linear_rules_are_accepted(regex: str) -> None:
    assert ExtraRule(name="ours", regex=regex).regex == regex


@pytest.mark.parametrize(("length", "remembered"), [(100, 1), (10_000, 0)])
def test_long_fields_are_redacted_and_not_remembered(length: int, remembered: int) -> None:
    redact = RecordRedactor(Redaction())
    value = "said " * (length // 5)
    assert redact.fields({"password": "correcthorse", "description": value}) == {
        "password": "<redacted:password>",
        "description": value,
    }
    assert redact._field.cache_info().currsize == 1 + remembered


def test_every_field_of_a_record() -> None:
    redact = RecordRedactor(Redaction())
    secret = token("ghp_", ALNUM, 36)
    alert = Alert(
        fingerprint=secret,
        time_ms=0,
        starts_ms=0,
        ends_ms=None,
        resource=Resource(namespace=secret, pod=secret),
        name=secret,
        severity=1,
        labels={"password": "correcthorse", secret: "x", "team": "shop", "quoted": 'a "b" c'},
        annotations={"runbook_url": "https://bob:hunter2@books/x"},
    )
    cleaned = redact.record(alert)
    assert secret not in str(cleaned)
    assert isinstance(cleaned, Alert)
    assert cleaned.labels == {
        "password": "<redacted:password>",
        "<redacted:github-token>": "x",
        "team": "shop",
        "quoted": 'a "b" c',
    }
    told = redact.record(replace(alert, resource=Resource(pod=f"{secret}-abcde", workload=secret[:30])))
    assert secret[:30] not in str(told), "a workload is told from the pod's name"
    assert cleaned.annotations == {"runbook_url": "https://bob:<redacted:password>@books/x"}


PIECES = (
    *("password", "token", "secret", "api_key", "Bearer ", "Basic ", "Authorization: ", "Cookie: a=", "--password "),
    *("://", "@", "=", ": ", ":", '"', "'", "\\", '\\"', " ", ",", ";", "&", "<", ">", "</", "{", "}", "\n", "_", "-"),
    *("<redacted:jwt>", "<redacted:", "hunter2", "a.b", "x@y.com", "4111111111111111", "é", "\ud800", "\x00", "null"),
    *("-----BEGIN PRIVATE KEY-----", *(token(*t[:3]) for t in TOKENS)),
)
text = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=16).map("".join)


@given(text)
@settings(max_examples=400)
def test_its_own_output_stays_as_it_is(text: str) -> None:
    once = REDACT(text)
    assert REDACT(once) == once


@given(text)
def test_placeholders_survive_the_template(text: str) -> None:
    assert "<redacted:jwt>" in template(f"<redacted:jwt> {REDACT(text)}")


HOSTILE = (
    *(
        "a",
        "-",
        "--",
        ":",
        "eyJ",
        "sk-",
        "ghp_",
        "token: aaaa ",
        "password=",
        "password",
        '"',
        "a@",
        "://a:",
        "4",
        "1.",
    ),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "bearer ", "<password>", "token=a,", "key:\n", "SG.a", "M", ": "),
    *(
        "-u a:",
        "_",
        "password: a",
        "AA8Q~",
        "%20",
        "a%",
        "aB1",
        "YWJj",
        "-p",
        "mysql -p",
        "name=password,value=",
        "1//0",
    ),
    *("a\n", "AAAA\n", "$2b$", "pat", "://a", "--password", "user=", "0 ", "4111 ", "\\n", "key", "authorization: a "),
)


@pytest.mark.parametrize("piece", HOSTILE)
def test_time_grows_with_the_text_and_not_its_square(piece: str) -> None:
    def seconds(size: int) -> float:
        hostile = piece * (size // len(piece))
        return min(_timed(hostile) for _ in range(2))

    # Eight times the text: eight times the time when linear, sixty-four when quadratic. The floor keeps noise out.
    assert seconds(1 << 20) <= 24 * max(seconds(1 << 17), 0.01)


def _timed(hostile: str) -> float:
    start = time.process_time()
    REDACT(hostile)
    return time.process_time() - start


@pytest.mark.parametrize(
    "word",
    ["OutOfMemoryError", "ImagePullBackOff", "NodeNotReady", "FailedScheduling", "GCLockerInitiatedGC", "Ext4FsError",
     "kubeAPIServerTLSBootstrap", "HTTPSConnectionURLParser", "CreateContainerConfigError", "0xdeadbeef12"],
)  # fmt: skip
def test_a_word_alone_is_no_end_of_a_key(word: str) -> None:
    """A message or a reason may be one word."""
    assert REDACT(word) == word


@pytest.mark.parametrize(
    "end",
    [
        "qifktUCwwITBZSPdbXPr",
        "epgsyVCssZKKKDLSNvkT",
        "Zx9Qw3Lm7Tb1Rk==",
        "apNqgeC8jhASecd74xk=",
        "EUuIBKHV/hYX96S9PNaKzRAR",
    ],
)
def test_the_end_of_a_key_alone_is_seen(end: str) -> None:
    assert REDACT(end) == "<redacted:private-key>"
