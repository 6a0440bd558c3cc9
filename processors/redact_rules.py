"""What secrets look like: the credentials of providers, each with a shape of its own. One table.

A rule must be linear in the text (possessive repeats, a boundary before every repeat) and must leave words alone:
digests, trace ids and names of objects are evidence. What is known by the words around it is in `redact_keyed.py`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Check = Callable[[re.Match[str]], bool]
LONG_RUN: Final = 24
# No letter or digit before; one that belongs to an escape (\\n, \\u001b), a colour or a percent sign is none.
BOUNDARY: Final = r"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=[0-9\[]m)|(?<=%[0-9A-F]{2})|(?<=\\u00[0-9a-f]{2}))"
_ESCAPED: Final = r"(?:%(?:2[BF]|3D)[\w+/=.~-]*+)*+"  # the rest of a token of which a URL has escaped + / or =


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one kind of secret looks like. The group `secret` is replaced, or the whole match without one."""

    name: str
    literals: tuple[str, ...]  # one of them occurs in each match; empty: a gate opens it
    pattern: re.Pattern[str]
    any_case: bool = False  # the literals are lower case and stand for every spelling
    near: tuple[re.Pattern[str], ...] = ()  # for each literal, a quick look at what stands behind it, in lower case
    gates: tuple[str, ...] = ()  # instead of literals: patterns that begin with one of _-.$ or a capital, as it is
    run: bool = False  # each match holds LONG_RUN letters and digits in a row
    check: Check | None = None  # False: it only looks like a secret


def secret_group(match: re.Match[str]) -> str | int:
    return "secret" if "secret" in match.re.groupindex and match["secret"] is not None else 0


def mixed(match: re.Match[str]) -> bool:
    """Letters of both cases and digits, as random tokens of that length have and words do not."""
    text = match[secret_group(match)]
    return bool(re.search(r"[0-9]", text) and re.search(r"[a-z]", text) and re.search(r"[A-Z]", text))


def scattered(text: str, width: int = 3) -> bool:
    """Letters of both cases, changing to the other or to digits every `width` characters: no word, and no digest."""
    text = text.strip()
    return not (text.islower() or text.isupper()) and width * len(_KINDS.findall(text)) >= len(text)


def shuffled(text: str) -> bool:
    """Base64 by its signs, or by about as many large letters as small ones: OutOfMemoryError has a quarter."""
    text = text.strip()
    if "=" in text or "+" in text:
        return scattered(text, 4)
    letters, kinds = [char for char in text if char.isalpha()], len(_KINDS.findall(text))
    digits = len(text) - len(letters)
    least, most = (0.2 if digits > 1 else 0.3), (0.9 if digits else 0.7)
    enough = 4 * kinds >= len(text) if digits else kinds >= 6
    return enough and least < sum(map(str.isupper, letters)) / max(len(letters), 1) < most


def _no_word(match: re.Match[str]) -> bool:
    """A digit, or letters of both cases behind one another: what is left when a prefix is short."""
    return bool(re.search(r"[0-9]|[a-z][A-Z]", match[0]))


def _random(match: re.Match[str]) -> bool:
    """Mixed, or long hexadecimal behind the prefix."""
    return mixed(match) or bool(re.search(r"[0-9a-f]{32}", match[0]))


def _token(
    name: str, literals: str, pattern: str, check: Check | None = None, *, gates: str = "", run: bool = False
) -> Rule:
    """A credential with a shape of its own, never part of a longer word."""
    compiled = re.compile(rf"{BOUNDARY}(?:{pattern}){_ESCAPED}", re.ASCII)
    words = tuple(literals.split())
    return Rule(name=name, literals=words, pattern=compiled, check=check, gates=tuple(gates.split()), run=run)


def luhn(match: re.Match[str]) -> bool:
    """A number that an issuer of cards could have given out."""
    digits = [int(char) for char in match[0] if char.isdigit()]
    if not _ISSUER.match("".join(map(str, digits))) or _TRACED.search(
        match.string, max(0, match.start() - 24), match.start()
    ):
        return False
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


_KINDS: Final = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_ISSUER: Final = re.compile(r"4|5[1-5]|2[2-7]|6(?:011|4[4-9]|5)|35|3[47]")  # networks, by the first digits
_TRACED: Final = re.compile(r"(?:span|trace)[_-]?id[\"'\\]*\s?[:=]\s?[\"'\\]*$", re.IGNORECASE)  # may be digits only
_UUID: Final = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

TOKENS: Final = (
    _token(
        "private-key",
        "BEGIN",
        # up to the end marker; without one, everything that could still be part of the key
        r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:(?:(?!-----)(?s:.))*+-----END[ A-Z0-9]{0,40}-----|[\w+/=:,.\\\s\ufffd-]*+)",
    ),
    # A message may begin in the middle of a key that was split over several, and hold its end.
    Rule(
        name="private-key",
        literals=("PRIVATE KEY",),
        pattern=re.compile(
            r"\A\s*(?:[A-Za-z0-9+/=]{1,80}(?:\s|\\[nr])++)*+-----END[ A-Z0-9]{0,40}PRIVATE KEY-----", re.ASCII
        ),
    ),
    _token("private-key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}+"),
    # clouds
    _token("aws-key", "AKIA ASIA ABIA ACCA", r"A(?:KI|SI|BI|CC)A[A-Z0-9]{16,}+"),
    _token("aws-key", "ABSK bedrock-api-key-", r"(?:ABSK|bedrock-api-key-)[\w+/=%-]{40,}+"),
    _token("google-key", "AIza ya29. GOCSPX-", r"(?:AIza|ya29\.|GOCSPX-)[\w.-]{24,}+"),
    _token("google-key", "1//0", r"1//0[\w-]{30,}+"),
    _token("azure-key", "Q~ AZDO", r"[\w~.-]{3}[0-9]Q~[\w~.-]{31,}+|[A-Za-z0-9]{60,80}AZDO[A-Za-z0-9]{4,}+"),
    _token("digitalocean-token", "dop_v1_ doo_v1_ dor_v1_", r"do[opr]_v1_[0-9a-f]{32,}+"),
    _token("cloud-key", "LTAI AKID", r"(?:LTAI[A-Za-z0-9]{16,}+|AKID[A-Za-z0-9]{28,}+)", _no_word),
    _token(
        "cloud-key", "HRKU- fo1_ fm1r_ fm1a_ fm2_", r"(?:HRKU-[\w-]{30,}+|fo1_[\w-]{30,}+|fm(?:1[ar]|2)_[\w+/=%]{40,}+)"
    ),
    _token(
        "cloud-key", "nfp_ vcp_ sbp_ sb_secret_ rnd_", r"(?:nfp|vcp|sbp|sb_secret|rnd)_[A-Za-z0-9_-]{24,}+", _no_word
    ),
    _token("cloud-key", "v1.0-", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{100,}+"),
    # code and packages
    _token("github-token", "ghp_ gho_ ghu_ ghs_ ghr_ github_pat_", r"(?:gh[pousr]|github_pat)_\w{20,}+"),
    _token(
        "gitlab-token",
        "glpat- gldt- glrt- glptt- glcbt- glft- glimt- glagent- glsoat- glffct- gloas- GR1348941",
        r"(?:gl(?:pat|dt|rt|ptt|cbt|ft|imt|agent|soat|ffct|oas)-|GR1348941)[\w.-]{16,}+",
    ),
    _token("atlassian-token", "ATATT3 ATCTT3 ATBB", r"(?:ATATT3|ATCTT3|ATBB)[\w=-]{24,}+"),
    _token("npm-token", "npm_", r"npm_[A-Za-z0-9]{36,}+"),
    _token("pypi-token", "pypi-AgE", r"pypi-AgE[\w-]{20,}+"),
    _token("docker-token", "dckr_pat_ dckr_oat_", r"dckr_[a-z]{2,4}_[\w-]{20,}+"),
    _token("package-token", "rubygems_ AKCp pul-", r"rubygems_[0-9a-f]{32,}+|AKCp[A-Za-z0-9]{40,}+|pul-[0-9a-f]{40,}+"),
    _token("package-token", "cmVmdGtu", r"cmVmdGtu[A-Za-z0-9]{40,}+"),
    _token(
        "ci-token",
        "CCIPAT_ CCIPRJ_ bkua_ squ_ sqp_ sqa_",
        r"(?:CCIP(?:AT|RJ)_\w{30,}+|bkua_[0-9a-f]{32,}+|sq[upa]_[0-9a-f]{40})",
    ),
    _token(
        "ci-token",
        "sgp_ pnu_ pnb_ lsv2_pt_ lsv2_sk_",
        r"(?:sgp_(?:\w{16,24}_)?[0-9a-f]{40}|pn[ub]_[A-Za-z0-9]{30,}+|lsv2_[ps][tk]_\w{30,}+)",
    ),
    # people and payments
    _token(
        "slack-token",
        "xoxa- xoxb- xoxc- xoxd- xoxe- xoxo- xoxp- xoxr- xoxs- xapp-",
        r"(?:xox[a-z](?:\.xox[a-z])?|xapp)-[A-Za-z0-9%-]{10,}+",
    ),
    _token("webhook", "hooks.slack.com/ hooks.zapier.com/", r"hooks\.(?:slack|zapier)\.com/(?P<secret>[\w/-]{20,}+)"),
    _token("webhook", "webhook.office.com/", r"webhook\.office\.com/(?P<secret>[\w/@-]{40,}+)"),
    _token("webhook", "/api/webhooks/", r"discord(?:app)?\.com/api/webhooks/[0-9]{15,20}/(?P<secret>[\w-]{40,}+)"),
    _token("telegram-token", ":AA", r"[0-9]{6,12}:AA[\w-]{30,}+"),
    _token(
        "discord-token",
        "",
        r"(?<![.-])[MNO][A-Za-z0-9_-]{22,27}\.[\w-]{6}\.[\w-]{27,}+",
        mixed,
        gates=r"M[\w-]{22,27}\. N[\w-]{22,27}\. O[\w-]{22,27}\.",
    ),
    _token("stripe-key", "k_live_ k_test_ whsec_", r"(?:[srp]k_(?:live|test)_[\w+/=]{10,}+|whsec_[\w+/=]{20,}+)"),
    _token("payment-key", "sq0atp- sq0csp- EZAK EZTK", r"sq0(?:atp|csp)-[\w-]{22,}+|EZ[AT]K[A-Za-z0-9]{50,}+"),
    _token(
        "payment-key",
        "access_token$production$ access_token$sandbox$",
        r"access_token\$(?:production|sandbox)\$[0-9a-z]{12,20}\$[0-9a-f]{32}",
    ),
    _token("payment-key", "access-production- access-sandbox- access-development-", rf"access-[a-z]{{7,11}}-{_UUID}"),
    _token("shop-token", "shpat_ shpca_ shppa_ shpss_", r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32,}+"),
    _token("twilio-key", "", r"(?:SK|AC)[0-9a-f]{32}(?![A-Za-z0-9])", gates="SK[0-9a-f]{8} AC[0-9a-f]{8}"),
    _token(
        "mail-key",
        "SG. xkeysib- xsmtpsib-",
        r"SG\.[\w-]{16,}+\.[\w-]{16,}+|x(?:key|smtp)sib-[\w-]{20,}+",
    ),
    _token("mail-key", "key-", r"key-[0-9a-f]{32,}+"),
    _token("mail-key", "", r"[0-9a-f]{32}-us[0-9]{1,2}(?![0-9a-z-])", gates=r"-(?<=[0-9a-f]{4}-)us[0-9]"),
    _token("social-token", "AAAAAAAAAAAAAAAAAAAA", r"AAAAAAAAAAAAAAAAAAAA[\w%-]{40,}+"),
    _token("work-token", "lin_api_ lin_oauth_ figd_ ntn_ PMAK-", r"(?:lin_(?:api|oauth)_|figd_|ntn_|PMAK-)[\w-]{30,}+"),
    _token("work-token", "secret_", r"secret_[A-Za-z0-9]{43}(?![A-Za-z0-9])", mixed),
    _token("work-token", "", r"pat[A-Za-z0-9]{14}\.[0-9a-f]{40,}+", gates=r".(?<=pat.{14}\.)[0-9a-f]{14}"),
    _token("work-token", "CFPAT- tfp_", r"CFPAT-[\w-]{40,}+|tfp_[\w-]{40,}+"),
    _token("work-token", "", r"sl\.[\w-]{60,}+", gates=r".(?<=sl\.)[\w-]{24}"),
    # operations
    _token("vault-token", "hvs. hvb. hvr. .atlasv1.", r"hv[sbr]\.[\w-]{20,}+|\w{10,20}\.atlasv1\.[\w-]{40,}+"),
    _token("vault-token", "", r"s\.[A-Za-z0-9]{24}(?![\w.-])", mixed, gates=r".(?<=s\.)[A-Za-z0-9]{24}"),
    _token("vault-token", "dp.pt. dp.st. dp.ct. dp.sa.", r"dp\.[a-z]{2,5}\.(?:[\w-]{2,35}\.)?[A-Za-z0-9]{40,}+"),
    _token("vault-token", "ops_eyJ", r"ops_eyJ[\w=-]{40,}+"),
    _token("vault-token", "A3-", r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}"),
    _token("databricks-token", "dapi", r"dapi[0-9a-f]{32,}+(?:-[0-9])?", run=True),
    _token(
        "monitoring-token",
        "NRAK- NRII- glsa_ glc_ sntrys_ sntryu_",
        r"(?:NR(?:AK|II)-|glsa_|glc_|sntry[su]_)[\w+/=-]{24,}+",
    ),
    _token("monitoring-token", "dt0c01. dt0s01.", r"dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{60,}+"),
    _token(
        "monitoring-token", "hcaik_ hcalk_ hcxik_ NRAL", r"hc[axb][il]k_[a-z0-9]{50,}+|[0-9a-z]{36}NRAL(?![A-Za-z0-9])"
    ),
    _token("monitoring-token", "sdk- api- mob-", rf"(?:sdk|api|mob)-{_UUID}"),
    _token("network-token", "tskey-", r"tskey-[\w-]{20,}+"),
    _token("database-token", "pscale_ mdb_sa_sk_ pcsk_", r"(?:pscale_[a-z]{2,6}_|mdb_sa_sk_|pcsk_)[\w.-]{24,}+"),
    # models
    _token("openai-key", "sk-", r"sk-(?:proj|svcacct|admin|ant|or|lf)-[\w-]{16,}+"),
    _token("openai-key", "sk-", r"sk-[\w-]{20,}+", _random),
    _token(
        "model-hub-token",
        "hf_ gsk_ r8_ xai- pplx- fw_",
        r"(?:hf_|gsk_|r8_|xai-|pplx-|fw_)[A-Za-z0-9]{24,}+",
        _no_word,
    ),
    _token("model-hub-token", "nvapi- tvly- csk-", r"(?:nvapi|tvly|csk)-[\w-]{28,}+", _no_word),
    # anyone
    # not the page marker of the Kubernetes API, which is {"v":"meta.k8s.io/v1",...} in base64
    _token("jwt", "eyJ", r"eyJ(?!2IjoibWV0YS5rOHMuaW8)[\w=-]{12,}+(?:\.[\w=-]*+){0,4}"),
    _token("password-hash", "$2a$ $2b$ $2y$", r"(?<!\$)\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}"),
    _token(
        "password-hash",
        "$6$ $5$ $y$ $apr1$ $argon2i$ $argon2id$ $argon2d$",
        r"(?<!\$)\$(?:[56y]|apr1|argon2i?d?)\$[\w./+=,$-]{24,}+",
    ),
    # with so short a prefix that others may hold it by chance: they come first
    _token("cloud-key", "AQVN y0_ y1_ y2_", r"(?:AQVN[\w-]{30,}+|y[0-3]_[\w-]{40,}+)"),
    _token("social-token", "EAA", r"EAA[A-Za-z0-9]{60,}+", mixed),
    _token(
        "package-token",
        "cio oy2",
        r"cio[A-Za-z0-9]{32}(?![A-Za-z0-9])|oy2[a-z0-9]{43}(?![A-Za-z0-9])",
        _no_word,
        run=True,
    ),
    _token(  # the signs by which keys of Azure's services can be told
        "azure-key",
        "ASt ABa ASb AMC ACR ACDb AIoT ASbT ARmv APIM AzFu AzSe",
        r"[\w+/%]{33,80}(?:(?:\+|%2B)A(?:St|Ba|Sb|MC|CR)|ACDb|AIoT|ASbT|ARmv|APIM|AzFu|AzSe)[\w+/]{4,10}={0,2}",
    ),
)
# Sixteen or fifteen digits, in groups or not; a redactor looks at it only where digits stand like that.
CARD: Final = Rule(
    name="card",
    literals=(),
    # the first digit in front, so that the search leaps from candidate to candidate
    pattern=re.compile(
        r"[2-6](?:(?<![\w.+-].)|(?<=\\[nrt].)|(?<=[0-9\[]m.))"
        r"(?:[0-9]{15}|[0-9]{3}(?:([ -])[0-9]{4}\1[0-9]{4}\1[0-9]{4}|([ -])[0-9]{6}\2[0-9]{5})"
        r"|(?<=3)[47][0-9]{13})(?![\w-]|\.[0-9])"
    ),
    check=luhn,
)
