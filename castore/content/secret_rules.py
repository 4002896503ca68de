"""Rules by which text is found to hold a secret: what it looks like, and what only looks like it.

Precise on purpose: a rule names a shape that one issuer gives its keys, or a place where nothing
but a password stands. What is merely random is left alone. Sources of the shapes: the issuers' own
documentation, and the rule sets of gitleaks and of GitHub's secret scanning.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Final, NamedTuple

# How far before its anchor a match may begin, and how long it may be, in bytes.
BEFORE: Final = 1024
REACH: Final = 4096

# What stands in examples; a random key of 40 letters holds one of them once in 10,000 times.
_FAKE: Final = re.compile(
    rb"example|xxxx|\*\*\*|\.\.\.|your|fake|dummy|placeholder|redacted|sample|changeme|"
    rb"12345678|abcdefgh|deadbeef|0{8}",
    re.IGNORECASE,
)
_KNOWN_FAKES: Final = (
    # Signatures of the tokens that jwt.io and PyJWT show; the key of Azure's storage emulator.
    b"SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
    b"4twFt5NiznN84AWoo1d7KO1T_yoc0Z6XOpOVswacPZg",
    b"Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq",
)
_BITS: Final = 2.6
_STAND_INS: Final = frozenset(
    b"admin bar baz bitnami foo guest hello hunter me mysql none null p pass passwd passwort "
    b"password postgres pw pwd qwerty rabbitmq redis root s secret sekret test tester testing "
    b"tiger token topsecret user username".split()
)
_WORDS: Final = re.compile(rb"passw|secret|\$|[{}()\[\]%<>|`]|^[a-z]{1,9}$|^[A-Z_]+$")
_NO_HOST: Final = re.compile(
    rb"(?:localhost|127\.|0\.0\.0\.0|\[::1|::1|host\b|hostname|server\b|your|"
    rb"(?:.*\.)?example\b|(?:.*\.)?(?:test|invalid|localhost|local)$|[^A-Za-z0-9\[_])",
    re.IGNORECASE,
)


class Rule(NamedTuple):
    """One shape: each match of `pattern` holds one of `anchors`, and `genuine` says if it is meant.

    Group `secret` is what may not be shown. The match begins with the anchor, or where the
    `lead` stands last before it. The anchor of a `search` is an expression without look-around.
    Every repetition is bounded, and none can be split in two ways: text may be hostile.
    """

    id: str
    anchors: tuple[bytes, ...]
    pattern: bytes
    search: bool = False
    lead: bytes | None = None
    genuine: str = "random"


def _token(id: str, anchors: bytes, body: bytes) -> Rule:
    """A prefix that stands for nothing else, and what follows it."""
    found = tuple(anchors.split())
    prefix = b"|".join(re.escape(one) for one in found)
    return Rule(id, found, rb"(?<![A-Za-z0-9_-])(?:%b)(?P<secret>%b)" % (prefix, body))


RULES: Final = (
    _token("age-key", b"AGE-SECRET-KEY-1", rb"[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}"),
    _token("anthropic-key", b"sk-ant-", rb"[a-z]{2,8}[0-9]{2}-[A-Za-z0-9_-]{60,1000}"),
    _token("atlassian-token", b"ATATT3", rb"[A-Za-z0-9_=-]{100,1000}"),
    _token("aws-access-key", b"AKIA ASIA", rb"[A-Z2-7]{16}(?![A-Za-z0-9])"),
    Rule(
        "aws-secret-key",
        (b"ecret_access_key", b"ecretAccessKey", b"SECRET_ACCESS_KEY"),
        rb"(?:ecret_access_key|ecretAccessKey|SECRET_ACCESS_KEY)[\"'\s]{0,4}[=:]{1,2}>?"
        rb"[\"'\s]{0,4}(?P<secret>[A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
    ),
    _token("azure-storage-key", b"AccountKey=", rb"[A-Za-z0-9+/]{86}=="),
    _token("databricks-token", b"dapi", rb"[a-f0-9]{32}(?![A-Za-z0-9])"),
    _token("digitalocean-token", b"dop_v1_ doo_v1_ dor_v1_", rb"[a-f0-9]{64}"),
    Rule(
        "discord-webhook",
        (b"api/webhooks/",),
        rb"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/(?P<secret>[A-Za-z0-9_-]{60,1000})",
        lead=b"discord",
    ),
    _token("docker-token", b"dckr_pat_ dckr_oat_", rb"[A-Za-z0-9_-]{27,1000}"),
    _token("github-token", b"ghp_ gho_ ghu_ ghs_ ghr_", rb"[A-Za-z0-9]{36,251}"),
    _token("github-token", b"github_pat_", rb"[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    _token(
        "gitlab-token",
        b"glpat- glptt- gldt- glrt- glcbt- glsoat- glft- glimt- glagent- gloas-",
        rb"[A-Za-z0-9_.-]{20,1000}",
    ),
    _token("google-api-key", b"AIza", rb"[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"),
    _token("google-oauth-secret", b"GOCSPX-", rb"[A-Za-z0-9_-]{28}(?![A-Za-z0-9_-])"),
    _token("grafana-token", b"glsa_", rb"[A-Za-z0-9]{32}_[a-f0-9]{8}"),
    _token("groq-key", b"gsk_", rb"[A-Za-z0-9]{52}(?![A-Za-z0-9])"),
    _token("huggingface-token", b"hf_", rb"[A-Za-z]{34}(?![A-Za-z0-9_])"),
    Rule(
        "jwt",
        (b".eyJ",),
        rb"(?<![A-Za-z0-9_-])(?P<secret>eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,1000}\."
        rb"[A-Za-z0-9_-]{20,1000})",
        lead=b"eyJ",
    ),
    _token("langsmith-key", b"lsv2_pt_ lsv2_sk_", rb"[a-f0-9]{32}_[a-f0-9]{10}"),
    _token("linear-key", b"lin_api_", rb"[A-Za-z0-9]{40}"),
    _token("newrelic-key", b"NRAK-", rb"[A-Z0-9]{27}"),
    _token("npm-token", b"npm_", rb"[A-Za-z0-9]{36}(?![A-Za-z0-9_])"),
    Rule(
        "npm-token",
        (b"_authToken",),
        rb"_authToken\s{0,4}=\s{0,4}[\"']?(?P<secret>[A-Za-z0-9_=-]{20,1000})",
    ),
    _token("openai-key", b"sk-proj- sk-svcacct- sk-admin-", rb"[A-Za-z0-9_-]{40,1000}"),
    Rule(
        "openai-key",
        (b"T3BlbkFJ",),
        rb"(?<![A-Za-z0-9_-])sk-(?P<secret>[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20})",
        lead=b"sk-",
    ),
    _token("perplexity-key", b"pplx-", rb"[A-Za-z0-9]{48}"),
    _token("postman-key", b"PMAK-", rb"[a-f0-9]{24}-[a-f0-9]{34}"),
    Rule(
        "private-key",
        (b"PRIVATE KEY",),
        rb"-----BEGIN (?:[A-Z0-9]{2,12} ){0,2}PRIVATE KEY(?: BLOCK)?-----"
        rb"(?:(?:\\[rn]|[\s\"',+]){1,100}+(?:[A-Za-z-]{4,20}: [^\r\n\\]{1,80})?){0,8}"
        rb"(?P<secret>[A-Za-z0-9+/=]{40,1000})",
        lead=b"-----BEGIN ",
    ),
    _token("pulumi-token", b"pul-", rb"[a-f0-9]{40}(?![A-Za-z0-9])"),
    _token("pypi-token", b"pypi-AgE", rb"[A-Za-z0-9_-]{60,1000}"),
    _token("rubygems-key", b"rubygems_", rb"[a-f0-9]{48}"),
    Rule(
        "sendgrid-key",
        (b"SG.",),
        rb"(?<![A-Za-z0-9_.-])SG\.(?P<secret>[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})",
    ),
    _token("shopify-token", b"shpat_ shpca_ shppa_ shpss_", rb"[a-fA-F0-9]{32}"),
    _token(
        "slack-token", b"xoxb- xoxp- xoxa- xoxe- xoxs-", rb"[0-9]{4,1000}-[0-9A-Za-z-]{16,1000}"
    ),
    _token("slack-token", b"xapp-", rb"[0-9]-[A-Z0-9]{6,1000}-[0-9]{6,1000}-[a-z0-9]{20,1000}"),
    Rule(
        "slack-webhook",
        (b"hooks.slack.com/services/",),
        rb"hooks\.slack\.com/services/(?P<secret>T[A-Z0-9]{6,1000}/B[A-Z0-9]{6,1000}/[A-Za-z0-9]{20,1000})",
    ),
    _token("stripe-key", b"sk_live_ rk_live_", rb"[A-Za-z0-9]{20,1000}"),
    _token("stripe-webhook-secret", b"whsec_", rb"[A-Za-z0-9+/]{32,1000}"),
    _token("supabase-token", b"sbp_", rb"[a-f0-9]{40}(?![A-Za-z0-9])"),
    Rule(
        "terraform-token",
        (b".atlasv1.",),
        rb"\.atlasv1\.(?P<secret>[A-Za-z0-9_=-]{60,1000})",
    ),
    Rule(
        "url-password",
        (rb"://[^/\s]+@",),
        rb"[A-Za-z][A-Za-z0-9+.-]{1,24}://[^\s/@:\"'<>]{0,100}:"
        rb"(?P<secret>[^\s/@:\"'<>]{6,200})@(?P<host>[^\s/\"'<>@:,;)\\]{3,200})",
        search=True,
        genuine="password",
    ),
    _token("vault-token", b"hvs. hvb.", rb"[A-Za-z0-9_-]{24,1000}"),
    _token("xai-key", b"xai-", rb"[A-Za-z0-9]{80}"),
)

# Files that are secret whatever they hold, by name; None where a name is said to be a template.
_NAMES: Final = {
    ".env": "env-file",
    ".git-credentials": "credentials-file",
    ".netrc": "credentials-file",
    ".pgpass": "credentials-file",
    "_netrc": "credentials-file",
    "credentials": "credentials-file",
    "id_dsa": "private-key-file",
    "id_ecdsa": "private-key-file",
    "id_ecdsa_sk": "private-key-file",
    "id_ed25519": "private-key-file",
    "id_ed25519_sk": "private-key-file",
    "id_rsa": "private-key-file",
}
_ENDINGS: Final = {
    "jks": "private-key-file",
    "kdbx": "credentials-file",
    "keystore": "private-key-file",
    "p12": "private-key-file",
    "pfx": "private-key-file",
    "ppk": "private-key-file",
}
_TEMPLATES: Final = frozenset(
    {"default", "defaults", "dist", "example", "examples", "sample", "schema", "template", "tpl"}
)


def rule_of_name(path: str) -> str | None:
    """The rule by which a file of this name is secret whatever it holds, if there is one."""
    name = path.rpartition("/")[2]
    found = _NAMES.get(name)
    if found is not None:
        return found
    stem, dot, ending = name.rpartition(".")
    if not dot or not stem:
        return None
    if name.startswith(".env."):
        return None if _TEMPLATES.intersection(name.split(".")) else "env-file"
    return _ENDINGS.get(ending)


@cache
def compiled(rule: Rule) -> re.Pattern[bytes]:
    """The pattern of a rule, compiled once: most are never needed."""
    return re.compile(rule.pattern)


def is_genuine(rule: Rule, match: re.Match[bytes]) -> bool:
    """Whether a match is likely to be a secret and no example, placeholder or counter."""
    return _GENUINE[rule.genuine](match)


def _random(match: re.Match[bytes]) -> bool:
    secret = bytes(match["secret"])
    if _FAKE.search(secret) or any(known in secret for known in _KNOWN_FAKES):
        return False
    if secret.isalpha() and (secret.islower() or secret.isupper()):
        return False
    secret = secret[:200]
    steps = sum(1 for a, b in pairwise(secret) if b - a == 1)
    return steps * 2 < len(secret) and _bits(secret) >= _BITS


def _password(match: re.Match[bytes]) -> bool:
    secret, host = bytes(match["secret"]), bytes(match["host"])
    if _NO_HOST.match(host) or _FAKE.search(secret) or _WORDS.search(secret):
        return False
    word = secret.lower().strip(b"0123456789!?_-.#*")
    return word not in _STAND_INS and len(set(secret)) > 4


def _bits(data: bytes) -> float:
    """Shannon's entropy of the bytes, in bits a byte."""
    size = len(data)
    return -sum(n / size * math.log2(n / size) for n in Counter(data).values())


_GENUINE: Final[dict[str, Callable[[re.Match[bytes]], bool]]] = {
    "password": _password,
    "random": _random,
}
