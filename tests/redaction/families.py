"""Token formats, from what their providers publish about them, with random bodies: none of them was ever issued.

A prefix is put together here so that no scanner of this repository finds anything.
"""

import base64
import json
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Final

Make = Callable[[Random], str]
LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM, HEX, BASE36 = LOWER + UPPER + DIGITS, DIGITS + "abcdef", LOWER + DIGITS
URLSAFE: Final = ALNUM + "-_"


@dataclass(frozen=True, slots=True)
class Family:
    name: str
    kind: str  # provider | password | key | personal
    make: Make
    keys: tuple[str, ...] = ()  # the words that make it a secret; without any its own shape must do


def chars(random: Random, alphabet: str, length: int) -> str:
    return "".join(random.choices(alphabet, k=length))


def shaped(*parts: str | tuple[str, int]) -> Make:
    """Fixed text and random pieces (alphabet, length) in turn."""
    return lambda random: "".join(p if isinstance(p, str) else chars(random, *p) for p in parts)


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _encoded(random: Random, *values: object) -> str:
    return ".".join(
        base64.urlsafe_b64encode(v if isinstance(v, bytes) else json.dumps(v, separators=(",", ":")).encode())
        .decode()
        .rstrip("=")
        for v in values
    )


def jwt(random: Random) -> str:
    header = {"alg": random.choice(("HS256", "RS256", "ES256")), "typ": "JWT"}
    claims = {"sub": chars(random, DIGITS, 10), "iat": random.randrange(1_700_000_000, 1_790_000_000)}
    return _encoded(random, header, claims, random.randbytes(random.choice((32, 64, 256))))


def password(random: Random) -> str:
    """As people and generators choose them."""
    word = random.choice(("correct", "hunter", "dragon", "summer", "welcome", "monkey", "winter", "letmein", "orange"))
    return random.choice(
        (
            lambda: word + random.choice(("horse", "battery", "staple", "castle")),
            lambda: word.capitalize() + chars(random, DIGITS, 3) + random.choice("!?$#"),
            lambda: chars(random, ALNUM, 16),
            lambda: chars(random, ALNUM + "!#$%^*+-_.~", 20),
            lambda: chars(random, HEX, 32),
            lambda: _uuid(random),
            lambda: base64.b64encode(random.randbytes(24)).decode(),
        )
    )()


def opaque(random: Random) -> str:
    """A key or token without a prefix."""
    return random.choice((chars(random, ALNUM, 32), chars(random, HEX, 40), _uuid(random), chars(random, URLSAFE, 43)))


def card(random: Random) -> str:
    prefix, length = random.choice((("4", 16), ("51", 16), ("2221", 16), ("6011", 16), ("37", 15)))
    body = prefix + chars(random, DIGITS, length - len(prefix) - 1)
    doubled = [sum(divmod(2 * int(d), 10)) if i % 2 == 0 else int(d) for i, d in enumerate(reversed(body))]
    number = body + str(-sum(doubled) % 10)
    between = random.choice(("", " ", "-"))
    cuts = (4, 8, 12) if length == 16 else (4, 10)
    return between.join(number[a:b] for a, b in zip((0, *cuts), (*cuts, length), strict=True))


def email(random: Random) -> str:
    name = random.choice(("", "x.", "dev+", "a_b-")) + chars(random, LOWER, random.randint(3, 12))
    return f"{name}@{chars(random, LOWER, random.randint(3, 12))}.{random.choice(('com', 'org', 'co.uk', 'io', 'de'))}"


def ip(random: Random) -> str:
    if random.random() < 0.25:
        return "2001:db8:" + ":".join(f"{random.randrange(1, 65536):x}" for _ in range(6))
    return ".".join(str(random.randint(1, 254)) for _ in range(4))


def person(random: Random) -> str:
    first = random.choice(("alice", "bob", "carol", "dave", "erin", "frank"))
    return random.choice((first, f"{first}.{chars(random, LOWER, 6)}", f"{first}{chars(random, DIGITS, 2)}"))


def pem(random: Random) -> list[str]:
    """A private key as its lines."""
    kind = random.choice(("RSA ", "EC ", "", "OPENSSH ", "ENCRYPTED "))
    body = base64.b64encode(random.randbytes(random.randint(120, 1_200))).decode()
    width = 70 if kind == "OPENSSH " else 64
    lines = [body[at : at + width] for at in range(0, len(body), width)]
    dashes = "-" * 5
    return [f"{dashes}BEGIN {kind}PRIVATE KEY{dashes}", *lines, f"{dashes}END {kind}PRIVATE KEY{dashes}"]


def _provider(name: str, *parts: str | tuple[str, int]) -> Family:
    return Family(name, "provider", shaped(*parts))


PROVIDERS: Final = (
    _provider("aws access key", "AK" "IA", (UPPER + "234567", 16)),
    _provider("aws temporary key", "AS" "IA", (UPPER + "234567", 16)),
    _provider("aws bedrock key", "AB" "SK", (ALNUM + "+/", 128), "="),
    _provider("google api key", "AI" "za", (URLSAFE, 35)),
    _provider("google access token", "ya" "29.a0", (URLSAFE, 160)),
    _provider("google refresh token", "1/" "/0", (URLSAFE, 60)),
    _provider("google client secret", "GOC" "SPX-", (URLSAFE, 28)),
    _provider("azure client secret", (ALNUM, 3), "8Q" "~", (ALNUM + "~.-_", 34)),
    _provider("azure devops token", (ALNUM, 76), "AZ" "DO", (ALNUM, 4)),
    _provider("azure storage key", (ALNUM, 76), "+A" "St", (ALNUM, 6), "=="),
    _provider("digitalocean token", "dop" "_v1_", (HEX, 64)),
    _provider("alibaba key", "LT" "AI5t", (ALNUM, 18)),
    _provider("tencent key", "AK" "ID", (ALNUM, 32)),
    _provider("yandex key", "AQ" "VN", (URLSAFE, 36)),
    _provider("heroku key", "HR" "KU-AA", (URLSAFE, 58)),
    _provider("fly token", "fm" "2_", (ALNUM + "+/", 120)),
    _provider("supabase token", "sb" "p_", (HEX, 40)),
    _provider("netlify token", "nf" "p_", (ALNUM, 36)),
    _provider("github token", "gh" "p_", (ALNUM, 36)),
    _provider("github app token", "gh" "s_", (ALNUM, 36)),
    _provider("github fine-grained", "github" "_pat_", (ALNUM, 22), "_", (ALNUM, 59)),
    _provider("gitlab token", "gl" "pat-", (URLSAFE, 20)),
    _provider("gitlab runner token", "gl" "rt-", (URLSAFE, 20)),
    _provider("bitbucket token", "AT" "BB", (ALNUM, 32)),
    _provider("atlassian token", "AT" "ATT3xFfGF0", (URLSAFE, 180), "=", (UPPER + DIGITS, 8)),
    _provider("npm token", "np" "m_", (ALNUM, 36)),
    _provider("pypi token", "py" "pi-AgEIcHlwaS5vcmc", (URLSAFE, 150)),
    _provider("rubygems key", "ruby" "gems_", (HEX, 48)),
    _provider("crates.io token", "ci" "o", (ALNUM, 32)),
    _provider("nuget key", "oy" "2", (BASE36, 43)),
    _provider("docker token", "dckr" "_pat_", (URLSAFE, 27)),
    _provider("artifactory key", "AK" "Cp", (ALNUM, 69)),
    _provider("circleci token", "CCI" "PAT_", (ALNUM, 22), "_", (HEX, 40)),
    _provider("buildkite token", "bk" "ua_", (HEX, 40)),
    _provider("sonarqube token", "sq" "u_", (HEX, 40)),
    _provider("pulumi token", "pu" "l-", (HEX, 40)),
    _provider("terraform token", (ALNUM, 14), ".atlas" "v1.", (URLSAFE, 67)),
    _provider("slack bot token", "xo" "xb-", (DIGITS, 12), "-", (DIGITS, 12), "-", (ALNUM, 24)),
    _provider("slack app token", "xa" "pp-1-A", (UPPER + DIGITS, 10), "-", (DIGITS, 13), "-", (HEX, 64)),
    _provider("slack webhook", "https://hooks.sl" "ack.com/services/T", (UPPER, 9), "/B", (UPPER, 9), "/", (ALNUM, 24)),
    _provider("discord token", "MT", (ALNUM, 24), ".G", (ALNUM, 5), ".", (URLSAFE, 38)),
    _provider("discord webhook", "https://discord.com/api/web" "hooks/", (DIGITS, 18), "/", (URLSAFE, 68)),
    _provider("teams webhook", "https://x.web" "hook.office.com/webhookb2/", (HEX, 36), "@", (HEX, 36), "/", (HEX, 32)),
    _provider("telegram token", (DIGITS, 10), ":" "AA", (URLSAFE, 33)),
    _provider("stripe secret key", "sk" "_live_", (ALNUM, 24)),
    _provider("stripe restricted key", "rk" "_live_", (ALNUM, 99)),
    _provider("stripe webhook secret", "wh" "sec_", (ALNUM, 32)),
    _provider("square token", "sq" "0atp-", (URLSAFE, 22)),
    Family("plaid token", "provider", lambda random: "access-" "production-" + _uuid(random)),
    _provider("shopify token", "shp" "at_", (HEX, 32)),
    _provider("twilio key", "S" "K", (HEX, 32)),
    _provider("sendgrid key", "S" "G.", (URLSAFE, 22), ".", (URLSAFE, 43)),
    _provider("mailgun key", "ke" "y-", (HEX, 32)),
    _provider("mailchimp key", (HEX, 32), "-u" "s21"),
    _provider("brevo key", "xkey" "sib-", (HEX, 64), "-", (ALNUM, 16)),
    _provider("facebook token", "EA" "AC", (ALNUM, 160)),
    _provider("linear key", "lin_" "api_", (ALNUM, 40)),
    _provider("figma token", "fi" "gd_", (URLSAFE, 40)),
    _provider("notion token", "nt" "n_", (ALNUM, 46)),
    _provider("airtable token", "pa" "t", (ALNUM, 14), ".", (HEX, 64)),
    _provider("postman key", "PM" "AK-", (HEX, 24), "-", (HEX, 34)),
    _provider("dropbox token", "s" "l.B", (URLSAFE, 130)),
    _provider("vault token", "hv" "s.", (URLSAFE, 90)),
    _provider("doppler token", "dp." "st.prd.", (ALNUM, 43)),
    _provider("age key", "AGE-SECRET" "-KEY-1", (UPPER + DIGITS, 58)),
    _provider("databricks token", "da" "pi", (HEX, 32)),
    _provider("new relic key", "NR" "AK-", (UPPER + DIGITS, 27)),
    _provider("grafana token", "gl" "sa_", (ALNUM, 32), "_", (HEX, 8)),
    _provider("sentry token", "sntr" "yu_", (HEX, 64)),
    _provider("dynatrace token", "dt0" "c01.", (UPPER + DIGITS, 24), ".", (UPPER + DIGITS, 64)),
    _provider("honeycomb key", "hca" "ik_01", (BASE36, 56)),
    Family("launchdarkly key", "provider", lambda random: "sd" "k-" + _uuid(random)),
    _provider("tailscale key", "tskey" "-auth-k", (ALNUM, 12), "CNTRL-", (ALNUM, 32)),
    _provider("planetscale password", "pscale" "_pw_", (URLSAFE, 43)),
    _provider("openai key", "s" "k-", (ALNUM, 20), "T3Blbk" "FJ", (ALNUM, 20)),
    _provider("openai project key", "sk-" "proj-", (URLSAFE, 74), "T3Blbk" "FJ", (URLSAFE, 74)),
    _provider("anthropic key", "sk-" "ant-api03-", (URLSAFE, 93), "AA"),
    _provider("openrouter key", "sk-" "or-v1-", (HEX, 64)),
    _provider("deepseek key", "s" "k-", (HEX, 32)),
    _provider("hugging face token", "h" "f_", (ALNUM, 34)),
    _provider("groq key", "gs" "k_", (ALNUM, 52)),
    _provider("replicate token", "r" "8_", (ALNUM, 37)),
    _provider("nvidia key", "nv" "api-", (URLSAFE, 64)),
    _provider("bcrypt hash", "$2" "b$12$", (ALNUM + "./", 53)),
    _provider("sha512 crypt hash", "$6" "$", (ALNUM + "./", 16), "$", (ALNUM + "./", 86)),
    Family("json web token", "provider", jwt),
)  # fmt: skip

_PASSWORD_KEYS: Final = (
    *(
        "password",
        "passwd",
        "pwd",
        "PASSWORD",
        "DB_PASSWORD",
        "userPassword",
        "spring.datasource.password",
        "PGPASSWORD",
    ),
    *("MYSQL_ROOT_PASSWORD", "smtp_pass", "keystore.password", "Passphrase", "admin_password"),
)
_SECRET_KEYS: Final = ("client_secret", "secret", "SECRET_KEY", "jwt.secret", "clientSecret", "appSecret")
_TOKEN_KEYS: Final = ("token", "access_token", "refreshToken", "AUTH_TOKEN", "X-Vault-Token", "id_token")
PASSWORDS: Final = (
    Family("password", "password", password, _PASSWORD_KEYS),
    Family("secret", "password", opaque, _SECRET_KEYS),
    Family("api key", "password", opaque, ("api_key", "apikey", "X-Api-Key", "apiKey", "OPENAI_API_KEY", "DD_APP_KEY")),
    Family("token", "password", opaque, _TOKEN_KEYS),
    Family(
        "cloud secret key",
        "password",
        lambda random: chars(random, ALNUM + "/+", 40),
        ("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "AccountKey", "SharedAccessKey", "secretAccessKey"),
    ),
    Family("signature", "password", lambda random: chars(random, ALNUM, 43), ("sig", "X-Amz-Signature", "signature")),
)  # fmt: skip
PERSONAL: Final = (
    Family("e-mail", "personal", email),
    Family("card", "personal", card),
    Family("ip address (by setting)", "personal", ip),
    Family("name (by setting)", "personal", person, ("user", "username", "login", "userName", "owner")),
)
