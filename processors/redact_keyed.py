"""What secrets look like: those that are known by the words around them, such as `password=`. One table.

"token expired", names of Kubernetes secrets and placeholders of templates are words, not secrets.
"""

import base64
import binascii
import ipaddress
import re
from typing import Final

from processors.redact_rules import Check, Rule, scattered

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
_CAPITAL_OR_DIGIT: Final = re.compile(r"[A-Z0-9]")
_KUBERNETES_NAME: Final = re.compile(r"(?=.*[-/])(?:[a-z0-9.-]{1,63}/)?[a-z][a-z0-9]{0,11}(?:[-.][a-z0-9]{1,11})*")
_UNLIKE_A_WORD: Final = re.compile(r"(?=.{5})(?:(?=.*[0-9])(?=.*[A-Za-z])|.*[a-z].*[A-Z]|.*[!#$%^&*+=~])")


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


def _assigned(match: re.Match[str]) -> bool:
    """Whether what follows a key such as `password=` is a value worth hiding."""
    key, value = match["key"].lower(), match["secret"].strip("\"'\\")
    strong = key.startswith(("pass", "pwd"))
    if len(value) < (1 if strong else 4) or _harmless(value) or _file(value):
        return False
    if key == "pwd" and re.match(r"~?/|~$", value):
        return scattered(value)  # otherwise the working directory of a shell
    if key == "secret" and _KUBERNETES_NAME.fullmatch(value):
        return False
    if "=" in match["sep"] or "%" in match["sep"] or match["quote"]:
        return True
    if value.startswith(":"):
        return False  # a name with colons in it
    if strong and match["sep"] == ":" and not value.startswith("/"):
        return True  # a dumped structure: {User:bob Password:hunter}
    # "key: value" may be prose: believe it of something unlike a word, or of a password on a line of its own
    return bool(_UNLIKE_A_WORD.match(value[:64])) or (strong and _alone(match))


def _harmless(value: str) -> bool:
    if value.startswith("$") and len(value) >= 12 and scattered(value):
        return False  # too random to be the name of a variable
    return bool(_PLACEHOLDERS.fullmatch(value) or _HARMLESS.fullmatch(value))


def _file(value: str) -> bool:
    """A path, a URL or a day; base64 may begin with a slash, and then has capitals and digits all over."""
    return bool(_FILE.fullmatch(value)) and not (len(value) >= 32 and len(_CAPITAL_OR_DIGIT.findall(value)) >= 12)


def _alone(match: re.Match[str]) -> bool:
    """Whether the pair is a whole line, as in YAML; a key may have a prefix, such as `db.password`."""
    text, start = match.string, match.start()
    before = text[max(0, start - 64) : start].rpartition("\n")[2].lstrip(" \t->+#*|")
    return text[match.end() : match.end() + 1] in ("", "\n", "\r") and " " not in before


def _flag_value(match: re.Match[str]) -> bool:
    return match["secret"] not in _FLAG_PROSE and not _harmless(match["secret"])


def _stated(match: re.Match[str]) -> bool:
    return not _harmless(match["secret"]) and not _file(match["secret"])


def _scheme_value(match: re.Match[str]) -> bool:
    """Behind "Authorization:" a word may be prose; a credential has a digit or is long."""
    return bool(re.search(r"[0-9]", match["secret"])) or len(match["secret"]) >= 24


_START: Final = r"(?:(?<![a-z])|(?<=\\[nrt]))"
_STRONG_KEYS: Final = (
    rf"(?:passw(?:or)?ds?|passphrase|passcode|passwrd|pwd|(?<!by)(?<!com)(?<!sur)(?<!over)pass|{_START}pw"
    r")(?:[0-9]{1,2}|[_.-]?(?:hash|value|prod(?:uction)?|dev|staging|test|default|new|old|current|"
    r"confirm(?:ation)?|b64|base64|raw|plain|temp|text|ro|rw))?"
)
_WEAK_KEYS: Final = (
    r"secret|token|(?:api|access|account|private|secret|signing|encryption|master|auth|session|shared|client|storage"
    r"|service|webhook|deploy|license|app|application|consumer|subscription|functions|instrumentation|root|admin|hmac"
    r"|ingest|ssh|x)[_. -]?key|credentials?"
    rf"|{_START}(?:auth(?=\\{{0,7}}[\"'])|sig|signature)"
)
_SEPARATOR: Final = r"\s{0,2}(?:=>|:=|==?|:[ \t]{3,40}|:|%3[ADad])\s{0,2}"
_QUOTE: Final = r"\\{0,7}[\"'`]|&quot;|&#34;|\\u0022"
# A quoted value ends at the same quote, or with the line when that was cut; a bare one may hold commas and quotes
# where another pair does not begin behind them.
_VALUE: Final = (
    rf"(?:Some\(|Secret\()?(?P<quote>{_QUOTE})?"
    r"(?P<secret>(?(quote)(?:(?!(?P=quote))(?:\\.|[^\n]))*+"
    r"|(?![(\[{])(?:<redacted:[a-z-]+>|[^\s\"'<,;&}]|\}(?=[^\s\"'},;\])])"
    r"|,(?=[^\s\"'{\[<])(?![\w.-]+[=:])|['\"](?=[\w!@#$%^*]))++))"
)


_NEAR: Final = {"auth": r"auth\\{0,7}[\"'] ?[:=]"}


def _pair(name: str, words: tuple[str, ...], key: str, check: Check = _assigned) -> Rule:
    pattern = rf"(?P<key>{key})(?P<keyquote>\\{{0,7}}\]|{_QUOTE})?(?P<sep>{_SEPARATOR}){_VALUE}"
    behind = r"[a-z0-9]{0,8}(?:[_.-][a-z0-9]{0,12})?(?:[\"'`\\\]]{0,8}|&quot;|&#\d\d;|\\u\d{4})\s{0,2}(?:[:=]|%\d)"
    return Rule(
        name=name,
        literals=words,
        near=tuple(re.compile(_NEAR.get(word, word + behind)) for word in words),
        pattern=re.compile(pattern, re.IGNORECASE),
        any_case=True,
        check=check,
    )


def _phrase(
    name: str, literals: tuple[str, ...], pattern: str, check: Check | None = None, *, near: str | None = None
) -> Rule:
    """A secret that is known by the words around it, in any case. `near`: must occur in the text in lower case too."""
    return Rule(
        name=name,
        literals=literals,
        near=(re.compile(near),) * len(literals) if near else (),
        pattern=re.compile(pattern, re.IGNORECASE | re.ASCII),
        any_case=True,
        check=check,
    )


_CREDENTIAL: Final = r"[^\s\"'<>,;\\]{8,}+(?:,\s?\w+=[^\s,]{1,512}){0,8}"
_STRONG: Final = ("pass", "pw")
_WEAK: Final = ("secret", "token", "key", "credential", "auth", "sig")

KEYED: Final = (
    _phrase(  # a port is none, nor is what follows it
        "password",
        ("@",),
        r"://[^\s/:@\"'<>\[]{0,256}+:(?![0-9]{1,5}(?:[/?#]|$))"
        r"(?P<secret>(?!<redacted:[a-z-]+>@)[^\s\"'<>]{1,512})@",
        near="://",
    ),
    _phrase("password", ("@",), r"://(?P<secret>[0-9a-z_-]{20,256}+)@", near="://"),  # a token in place of a user
    _phrase("authorization", ("bearer",), rf"\bbearer\s{{1,2}}(?=[\w~+/.=-]*[0-9])(?P<secret>{_CREDENTIAL})"),
    _phrase(
        "authorization",
        ("auth",),
        r"authorization[\"'\\]*\s?[:=]\s?[\"'\\]*(?:bearer|token|apikey|negotiate|digest|aws4-hmac-sha256)\s{1,2}"
        rf"(?P<secret>{_CREDENTIAL})",
        near="authorization",
    ),
    _phrase(
        "authorization",
        ("auth",),
        rf"authorization[\"'\\]*\s?[:=]\s?[\"'\\\[]*(?:(?!basic)[a-z][\w-]{{1,24}}\s{{1,2}})?(?P<secret>{_CREDENTIAL})",
        _scheme_value,
        near="authorization",
    ),
    _phrase("authorization", ("basic",), r"\bbasic\s{1,2}(?P<secret>[A-Za-z0-9+/_-]{6,}+={0,2})", _basic_credentials),
    _phrase("cookie", ("cookie",), r"\bcookie[\"']?\s?[:=]\s?[\"']?(?P<secret>[\w.-]+=(?!<redacted)[^\n\"']++)"),
    _phrase(  # SQL
        "password",
        (*_STRONG, "identified by"),
        r"(?:\bidentified by\s{1,2}(?:password\s)?|\bpassword\s?\(?)(?P<quote>[\"'])"
        r"(?P<secret>(?!<)(?:(?!(?P=quote))[^\n]){3,512})",
        _flag_value,
        near="identified by|password ?\\(?'",
    ),
    _pair("password", _STRONG, _STRONG_KEYS),
    _pair("secret", _WEAK, _WEAK_KEYS),
    _phrase(  # options of a command line, in one string or as a list of words
        "password",
        (*_STRONG, *_WEAK),
        rf"(?<![\w-])--[\w.-]{{0,40}}?(?:{_STRONG_KEYS}|{_WEAK_KEYS})(?:[ \t]{{1,2}}|[\"'],\s{{0,2}})[\"']?"
        r"(?P<secret>(?!<|--|-[a-z][a-z-]{0,30}(?![^\s=\"']))[^\s\"']{3,})",
        _flag_value,
        near="--[a-z]",
    ),
    Rule(  # options of one letter, of the programs that take a password so
        name="password",
        literals=(),
        gates=(r"-(?<=\s-)(?:u [^\s:]{1,64}:|[aw] \S|p ?\S)",),
        pattern=re.compile(
            r"(?:\s-u [^\s:]{1,64}:|\b(?:mysql|mariadb)[\w-]{0,12}(?=\s)(?>[^\n]{0,100}?\s-p)|\bsshpass\s{1,2}-p\s?"
            r"|\bredis-cli(?=\s)(?>[^\n]{0,100}?\s-a\s)|\bldap[a-z]{3,8}(?=\s)(?>[^\n]{0,100}?\s-w\s))[\"']?"
            r"(?P<secret>(?![-<])[^\s\"']{3,})"
        ),
        check=_flag_value,
    ),
    _phrase(  # as Kubernetes and Docker print an environment: {"name": "DB_PASSWORD", "value": "..."}
        "password",
        (*_STRONG, *_WEAK),
        rf"name\\{{0,7}}[\"']?\s?[:=]\s?\\{{0,7}}[\"']?[\w.-]{{0,60}}?(?:{_STRONG_KEYS}|{_WEAK_KEYS})\\{{0,7}}[\"']?[,\s]{{1,20}}"
        r"\\{0,7}[\"']?value\\{0,7}[\"']?\s?[:=]\s?(?P<quote>\\{0,7}[\"'])?"
        r"(?P<secret>(?(quote)(?:(?!(?P=quote))[^\n]){1,4096}|(?!<)[^\s\"'<>,}]{1,4096}))",
        _stated,
        near="value[\\\\\"']{0,8} ?[:=]",
    ),
    _phrase(
        "password",
        (*_STRONG, *_WEAK),
        rf"<[\w.-]{{0,40}}(?:{_STRONG_KEYS}|{_WEAK_KEYS})>(?P<secret>(?!<)[^<\n]{{3,512}})</",
        near="</",
    ),
    _phrase(
        "email",
        ("@",),
        r"(?<![\w.%+-])[\w.%+-]{1,64}+@(?:[a-z0-9-]{1,63}+\.){1,8}[a-z]{2,24}(?![\w-])",
        _mailbox,
        near=r"@[a-z0-9-]{1,63}\.",
    ),
)
_OUTSIDE: Final = r"(?:(?<![\w:.])|(?<=\\[nrt])|(?<=[0-9\[]m)|(?<=[a-z]:))"
IP_ADDRESSES: Final = (
    Rule(
        name="ip",
        literals=(".",),
        pattern=re.compile(rf"{_OUTSIDE}[0-9]{{1,3}}(?:\.[0-9]{{1,3}}){{3}}(?![\w.]*\w)"),
        any_case=True,
        check=_address,
    ),
    Rule(
        name="ip",
        literals=("::", ":"),
        pattern=re.compile(rf"{_OUTSIDE}(?=[0-9A-Fa-f:]*:[0-9A-Fa-f]*:)[0-9A-Fa-f:]{{2,39}}+(?![\w:])", re.ASCII),
        any_case=True,
        check=_address,
    ),
)
_NAME_KEYS: Final = (
    rf"{_START}(?:(?:user|login|account|display|full|first|last|owner|author|customer)[_.-]?name|user|login|owner|"
    r"author|principal|customer)"
)


def _named(match: re.Match[str]) -> bool:
    value = match["secret"].strip("\"'\\")
    return len(value) > 1 and not _harmless(value) and not value.isdigit()


# Names of people and accounts, where a key or a phrase says that there is one. Names in prose are not found.
NAMES: Final = (
    _pair("name", ("user", "login", "owner", "author", "principal", "customer", "name"), _NAME_KEYS, _named),
    _phrase(
        "name",
        ("user ", "password for ", "publickey for ", "principal ", "account "),
        r"\b(?:invalid user|user|password for|publickey for|principal|account)\s"
        r"(?!(?:invalid user|invalid|not|is|was|has|unknown|name|does|with|and|or|for|by|root)\b)"
        r"[\"']?(?P<secret>(?!<)[^\s\"',;:()=]{2,64}+)(?=[\"']?(?: (?:from|by|on|at|in|with|\[|\()|[.,;:]?$|\())",
        _named,
    ),
)
