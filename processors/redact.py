"""Text -> the same text without secrets: typed placeholders such as `<redacted:jwt>`, before anything is stored.

One table of rules. A rule is tried only where one of its literals occurs, and literals that end in an underscore or a
hyphen are looked for only where a long word follows one, so a clean line costs some dozens of substring searches.

A rule must be linear in the text (possessive repeats, a boundary before every repeat), must stop at placeholders, and
must leave words alone: "token expired", names of Kubernetes secrets, digests and trace ids are evidence.
"""

import base64
import binascii
import hashlib
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from schemas.settings import Redaction

REDACTION_VERSION: Final = 1

_MAX_PASSES: Final = 24  # a placeholder may end a word in front of another secret; each pass sees what the last left
_KEY_BODY_LENGTHS: Final = range(60, 80)  # one line of a PEM body that came as a message of its own

Check = Callable[[re.Match[str]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of secret looks like. The group `secret` is replaced, or the whole match without one."""

    name: str
    literals: tuple[str, ...]  # one of them occurs in each match; empty: the pattern is its own prefilter
    pattern: re.Pattern[str]
    any_case: bool = False  # the literals are lower case and stand for every spelling
    near: tuple[re.Pattern[str], ...] = ()  # for each literal, a quick look at what stands behind it, in lower case
    check: Check | None = None  # False: it only looks like a secret


def _token(name: str, literals: str, pattern: str, check: Check | None = None) -> Rule:
    """A credential with a shape of its own, never part of a longer word."""
    compiled = re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})", re.ASCII)
    return Rule(name=name, literals=tuple(literals.split()), pattern=compiled, check=check)


def _secret_group(match: re.Match[str]) -> str | int:
    return "secret" if "secret" in match.re.groupindex and match["secret"] is not None else 0


def _mixed(match: re.Match[str]) -> bool:
    """Letters of both cases and digits, as random tokens of that length have and words do not."""
    text = match[_secret_group(match)]
    return bool(re.search(r"[0-9]", text) and re.search(r"[a-z]", text) and re.search(r"[A-Z]", text))


def _luhn(match: re.Match[str]) -> bool:
    digits = [int(char) for char in match[0] if char.isdigit()]
    if not _ISSUER.match("".join(map(str, digits))):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _basic_credentials(match: re.Match[str]) -> bool:
    try:
        return b":" in base64.b64decode(match["secret"] + "==")
    except binascii.Error:
        return False


def _mailbox(match: re.Match[str]) -> bool:
    return not match[0].startswith("git@") and match[0].rpartition(".")[2].lower() not in _UNIT_SUFFIXES


def _address(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return True


_ISSUER: Final = re.compile(r"4|5[1-5]|2[2-7]|6(?:011|4[4-9]|5)|35|3[47]")  # networks, by the first digits
# name@instance.suffix of systemd, and package@version.suffix: no mailboxes
_UNIT_SUFFIXES: Final = frozenset(
    ("service", "socket", "timer", "mount", "target", "slice", "scope", "device", "path", "swap", "automount")
    + ("alpha", "beta", "rc", "js", "ts", "py", "rs", "go", "jar", "tgz", "gz", "zip", "conf", "yaml", "yml", "json")
)
# What stands after "password=" or "token:" without being one.
_HARMLESS: Final = re.compile(
    r"(?:none|null|nil|undefined|true|false|yes|no|empty|missing|required|invalid|expired|unset|set|ok|failed|failure"
    r"|denied|rejected|wrong|incorrect|unknown|not|is|was|must|cannot|error|n/a|bearer|basic|string|bytes?|[0-9]{1,3}"
    r"|[*x•.-]+|[\[(]?(?:redacted|filtered|hidden|masked|removed)[\])]?|\$\{?\w*\}?|\$\(.*|\{\{.*|%[sdvq]|%\(\w+\)s)[.!)]?",
    re.IGNORECASE,
)
_FLAG_PROSE: Final = frozenset(("flag", "option", "argument", "parameter", "and", "or", "is", "was", "for", "with"))
_PLACEHOLDERS: Final = re.compile(r"(?:<redacted:[a-z-]+>)+")
_FILE: Final = re.compile(r"(?:/[\w.@-]+){2,}/?|/[\w-]+\.[a-z]{2,5}|https?://.*|\d{4}-\d\d-\d\d.*")
_KUBERNETES_NAME: Final = re.compile(r"(?=.*[-/])(?:[a-z0-9.-]{1,63}/)?[a-z][a-z0-9]{0,11}(?:[-.][a-z0-9]{1,11})*")
_UNLIKE_A_WORD: Final = re.compile(r"(?=.{5})(?:(?=.*[0-9])(?=.*[A-Za-z])|.*[a-z].*[A-Z]|.*[!#$%^&*+=~])")


def _assigned(match: re.Match[str]) -> bool:
    """Whether what follows a key such as `password=` is a value worth hiding."""
    key, value = match["key"].lower(), match["secret"].strip("\"'\\")
    least = 1 if key.startswith(("pass", "pwd")) else 4
    if len(value) < least or _PLACEHOLDERS.fullmatch(value) or _HARMLESS.fullmatch(value) or _FILE.fullmatch(value):
        return False
    if key == "pwd" and value.startswith(("/", "~")):
        return False  # the working directory of a shell
    if key == "secret" and _KUBERNETES_NAME.fullmatch(value):
        return False
    if "=" in match["sep"] or match["quote"] or match["keyquote"]:
        return True
    # "key: value" may be prose: believe it of something unlike a word, or of a password on a line of its own
    return bool(_UNLIKE_A_WORD.match(value[:64])) or (key.startswith("pass") and _alone(match))


def _alone(match: re.Match[str]) -> bool:
    """Whether the pair is a whole line, as in YAML; a key may have a prefix, such as `db.password`."""
    text, start = match.string, match.start()
    before = text[max(0, start - 64) : start].rpartition("\n")[2].lstrip()
    return text[match.end() : match.end() + 1] in ("", "\n", "\r") and " " not in before


def _flag_value(match: re.Match[str]) -> bool:
    return match["secret"] not in _FLAG_PROSE and not _HARMLESS.fullmatch(match["secret"])


_STRONG_KEYS: Final = r"passw(?:or)?ds?|passphrase|passcode|pwd|(?<!by)(?<!com)(?<!sur)(?<!over)pass|(?<![a-z])pw"
_WEAK_KEYS: Final = (
    r"secret|token|(?:api|access|account|private|secret|signing|encryption|master|auth|session|shared|client|storage"
    r"|service|webhook|deploy|license)[_.-]?key|(?:connection|conn)[_.-]?string|credentials?"
    r"|(?<![a-z])(?:auth(?=\\{0,3}[\"'])|sig|signature)"
)
_SEPARATOR: Final = r"\s{0,2}(?:=>|:=|==?|:)\s{0,2}"
# A quoted value ends at the same quote, or with the line when that was cut; a bare one may hold commas and quotes
# where another pair does not begin behind them.
_VALUE: Final = (
    r"(?P<quote>\\{0,3}[\"'`])?(?P<secret>(?(quote)(?:(?!(?P=quote))(?:\\.|[^\n]))*+"
    r"|(?![(\[{])(?:<redacted:[a-z-]+>|[^\s\"'<,;&]|,(?=[^\s\"'{\[<])(?![\w.-]+[=:])|['\"](?=[\w!@#$%^*]))++))"
)


def _pair(name: str, literals: str, key: str) -> Rule:
    pattern = rf"(?P<key>{key})(?P<keyquote>\\{{0,3}}[\"'`\]])?(?P<sep>{_SEPARATOR}){_VALUE}"
    words = tuple(literals.split())
    return Rule(
        name=name,
        literals=words,
        near=tuple(re.compile(word + r"[a-z]{0,6}[\"'`\\\]]{0,4}\s{0,2}[:=]") for word in words),
        pattern=re.compile(pattern, re.IGNORECASE),
        any_case=True,
        check=_assigned,
    )


def _phrase(name: str, literals: tuple[str, ...], pattern: str, check: Check | None = None) -> Rule:
    """A secret that is known by the words around it, in any case."""
    compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
    return Rule(name=name, literals=literals, pattern=compiled, any_case=True, check=check)


_RULES: Final = (
    _token(
        "private-key",
        "BEGIN",
        # up to the end marker; without one, everything that could still be part of the key
        r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:(?!-----)(?s:.))*+-----END[ A-Z0-9]{0,40}-----|[\w+/=:,.\\\s-]*+)",
    ),
    _token("aws-key", "AKIA ASIA ABIA ACCA", r"A(?:KI|SI|BI|CC)A[A-Z0-9]{16,}+"),
    _token("github-token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"(?:gh[pousr]|github_pat)_\w{20,}+"),
    _token(
        "gitlab-token",
        "glpat- gldt- glrt- glptt- glcbt- glft- glimt- glagent- glsoat- GR1348941",
        r"(?:gl(?:pat|dt|rt|ptt|cbt|ft|imt|agent|soat)-|GR1348941)[\w.-]{16,}+",
    ),
    _token("slack-token", "xox xapp-", r"(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9-]{10,}+"),
    _token("slack-webhook", "hooks.slack.com/", r"hooks\.slack\.com/(?P<secret>[\w/-]{20,}+)"),
    _token("stripe-key", "k_live_ k_test_ whsec_", r"(?:[sr]k_(?:live|test)_[\w+/=]{10,}+|whsec_[\w+/=]{20,}+)"),
    _token("google-key", "AIza ya29. GOCSPX-", r"(?:AIza|ya29\.|GOCSPX-)[\w.-]{24,}+"),
    _token("azure-key", "Q~ AZDO", r"[\w~.-]{3}[0-9]Q~[\w~.-]{31,}+|[A-Za-z0-9]{60,80}AZDO[A-Za-z0-9]{4,}+"),
    _token("npm-token", "npm_", r"npm_[A-Za-z0-9]{36,}+"),
    _token("pypi-token", "pypi-AgE", r"pypi-AgE[\w-]{20,}+"),
    _token("docker-token", "dckr_", r"dckr_[a-z]{2,4}_[\w-]{20,}+"),
    _token("openai-key", "sk-", r"sk-(?:proj|svcacct|admin|ant|or)-[\w-]{16,}+"),
    _token("openai-key", "sk-", r"sk-[\w-]{20,}+", _mixed),
    _token("model-hub-token", "hf_ gsk_ r8_ xai- pplx-", r"(?:hf_|gsk_|r8_|xai-|pplx-)[A-Za-z0-9]{30,}+"),
    _token("twilio-key", "SK AC", r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])"),
    _token("sendgrid-key", "SG. xkeysib-", r"SG\.[\w-]{16,}+\.[\w-]{16,}+|xkeysib-[\w-]{20,}+"),
    _token("mail-key", "key-", r"key-[0-9a-f]{32,}+"),
    _token("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{32,}+"),
    _token("vault-token", "hvs. hvb. hvr. .atlasv1.", r"hv[sbr]\.[\w-]{20,}+|\w{10,20}\.atlasv1\.[\w-]{40,}+"),
    _token("databricks-token", "dapi", r"dapi[0-9a-f]{32,}+(?:-[0-9])?"),
    _token("telegram-token", ":AA", r"[0-9]{6,12}:AA[\w-]{30,}+"),
    _token("discord-webhook", "/api/webhooks/", r"/api/webhooks/[0-9]{15,20}/(?P<secret>[\w-]{40,}+)"),
    _token("shop-token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32,}+"),
    _token("monitoring-token", "NRAK- glsa_ glc_ sntry", r"(?:NRAK-|glsa_|glc_|sntry[su]_)[\w+/=-]{24,}+"),
    _token("atlassian-token", "ATATT3 ATCTT3 ATBB", r"(?:ATATT3|ATCTT3|ATBB)[\w=-]{24,}+"),
    _token("package-token", "rubygems_ AKCp pul-", r"rubygems_[0-9a-f]{32,}+|AKCp[A-Za-z0-9]{40,}+|pul-[0-9a-f]{40,}+"),
    _token("network-token", "tskey-", r"tskey-[\w-]{20,}+"),
    _token("planetscale-token", "pscale_", r"pscale_[a-z]{2,6}_[\w.-]{24,}+"),
    _token("cloud-key", "LTAI AKID", r"(?:LTAI[A-Za-z0-9]{16,}+|AKID[A-Za-z0-9]{28,}+)", _mixed),
    _token("jwt", "eyJ", r"eyJ[\w=-]{12,}+(?:\.[\w=-]*+){0,4}"),
    _phrase(
        "password",
        ("://",),
        r"://[^\s/:@\"'<>]{0,256}+:(?P<secret>(?!<redacted:[a-z-]+>@)[^\s/\"']{1,512})@",
    ),
    _phrase(
        "authorization",
        ("bearer", "authorization"),
        r"(?:authorization[\"'\\]*\s?[:=]\s?[\"'\\]*(?:bearer|token|apikey|negotiate|digest|aws4-hmac-sha256)\s{1,2}"
        r"|\bbearer\s{1,2}(?=[\w~+/.=-]*[0-9]))(?P<secret>[^\s\"'<>,;\\]{8,}+(?:,\s?\w+=[^\s,]{1,512}){0,8})",
    ),
    _phrase("authorization", ("basic ",), r"\bbasic\s{1,2}(?P<secret>[A-Za-z0-9+/_-]{6,}+={0,2})", _basic_credentials),
    _phrase("cookie", ("cookie",), r"\bcookie[\"']?\s?[:=]\s?[\"']?(?P<secret>[\w.-]+=(?!<redacted)[^\n\"']++)"),
    _pair("password", "pass pw", _STRONG_KEYS),
    _pair("secret", "secret token key string credential auth sig", _WEAK_KEYS),
    _phrase(
        "password",
        ("--", "identified by", " -u "),
        rf"(?:(?<![\w-])--[\w-]{{0,40}}(?:{_STRONG_KEYS}|secret|token|api-key)[ \t]{{1,2}}|identified by\s{{1,2}}"
        r"|\s-u [^\s:]{1,64}:)[\"']?(?P<secret>(?![-<])[^\s\"']{3,})",
        _flag_value,
    ),
    _phrase("password", ("</",), rf"<[\w.-]{{0,40}}(?:{_STRONG_KEYS}|{_WEAK_KEYS})>(?P<secret>(?!<)[^<\n]{{3,512}})</"),
    _phrase("email", ("@",), r"(?<![\w.%+-])[\w.%+-]{1,64}+@(?:[a-z0-9-]{1,63}+\.){1,8}[a-z]{2,24}(?![\w-])", _mailbox),
    Rule(
        name="card",
        literals=(),
        # the first digit in front, so that the search leaps from candidate to candidate
        pattern=re.compile(
            r"[2-6](?<![\w.+-].)(?:[0-9]{15}|[0-9]{3}(?:([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|([ -])[0-9]{6}\2[0-9]{5})"
            r"|(?<=3)[47][0-9]{13})(?![\w-]|\.[0-9])"
        ),
        check=_luhn,
    ),
    Rule(
        name="discord-token",
        literals=(),
        pattern=re.compile(r"[MNO](?<![\w.-].)[A-Za-z0-9_-]{22,27}\.[\w-]{6}\.[\w-]{27,}+", re.ASCII),
        check=_mixed,
    ),
)
_KEY_BODY: Final = Rule(
    name="private-key", literals=(), pattern=re.compile(r"\A[A-Za-z0-9+/]{60,}={0,2}\s*\Z"), check=_mixed
)
_IP_ADDRESSES: Final = (
    Rule(
        name="ip", literals=(), pattern=re.compile(r"(?<![\w.])[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w.])"), check=_address
    ),
    Rule(
        name="ip",
        literals=("::", ":"),
        pattern=re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{2,39}+(?![\w:])", re.ASCII),
        check=_address,
    ),
)


# Literals with one of these are looked for only where what follows is long enough for a token.
_GATES: Final = {gate: re.compile(gate + r"[\w+/=.-]{14}") for gate in "_-"}
_Words = tuple[tuple[str, int], ...]


class Redactor:
    """Replaces secrets by typed placeholders: pure, linear in the text, and its own output stays as it is."""

    def __init__(self, settings: Redaction) -> None:
        self._rules = _RULES + (_IP_ADDRESSES if settings.ip_addresses else ())
        by_gate = _by_gate(self._rules)
        self._ungated = by_gate.pop("")
        self._gated = tuple((_GATES[gate], words) for gate, words in by_gate.items())
        self._any_case = tuple(
            (word, near, i)
            for i, rule in enumerate(self._rules)
            if rule.any_case
            for word, near in zip_longest(rule.literals, rule.near)
        )
        self._always = tuple(i for i, rule in enumerate(self._rules) if not rule.literals)
        shown = f"{REDACTION_VERSION}:{settings.model_dump_json()}"
        self.identity = f"redaction-{hashlib.sha256(shown.encode()).hexdigest()[:12]}"

    def __call__(self, text: str) -> str:
        for _ in range(_MAX_PASSES):
            redacted = self._pass(text)
            if redacted == text:
                break
            text = redacted
        return text

    def _pass(self, text: str) -> str:
        for i in self._candidates(text):
            text = _apply(self._rules[i], text)
        if len(text) in _KEY_BODY_LENGTHS and " " not in text:
            text = _apply(_KEY_BODY, text)
        return text

    def _candidates(self, text: str) -> list[int]:
        """The rules that may match, in the order of the table."""
        found = [i for word, i in self._ungated if word in text]
        for gate, words in self._gated:
            if gate.search(text):
                found += [i for word, i in words if word in text]
        lower = text.lower()
        found += [i for word, near, i in self._any_case if word in lower and (near is None or near.search(lower))]
        found += [i for i in self._always if self._rules[i].pattern.search(text)]
        return sorted(set(found)) if found else found


def _by_gate(rules: tuple[Rule, ...]) -> dict[str, _Words]:
    """Exact literals with the number of their rule, by the gate that they stand behind; "" for none."""
    gated: dict[str, list[tuple[str, int]]] = {gate: [] for gate in ("", *_GATES)}
    for i, rule in enumerate(rules):
        for word in () if rule.any_case else rule.literals:
            gated[next((gate for gate in _GATES if gate in word), "")].append((word, i))
    return {gate: tuple(words) for gate, words in gated.items()}


def _apply(rule: Rule, text: str) -> str:
    placeholder = f"<redacted:{rule.name}>"

    def replace(match: re.Match[str]) -> str:
        if rule.check and not rule.check(match):
            return match[0]
        start, end = match.span(_secret_group(match))
        return match.string[match.start() : start] + placeholder + match.string[end : match.end()]

    return rule.pattern.sub(replace, text)
