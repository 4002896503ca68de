"""Faults: what an exception of obstore says of a request, in words that hold no secret.

An answer of a server may repeat the key that it was asked with, so of its text only the code is
taken, and never the rest.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"(?:<Code>|\"code\": ?\"|\(code: )([A-Za-z0-9.]{1,60})(?:</Code>|\"|\))")
_REGION: Final = re.compile(r"<Region>([a-z0-9-]{1,40})</Region>")
_SYSTEM: Final = re.compile(r'message: "([A-Za-z0-9 ,./-]{1,80})"')
# Without what may stand before a "@", or behind the host.
_SERVER: Final = re.compile(r"performing [A-Z]+ (https?://[A-Za-z0-9._:\[\]-]+)/")
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)|invalid peer certificate: (\w+)")
_PATH: Final = re.compile(r'[Pp]ath "([^"\\]{1,300})"')
_DENIED_CODES: Final = frozenset({
    "AccessDenied", "AccountProblem", "AuthenticationFailed", "AuthorizationFailure",
    "ExpiredToken", "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
})  # fmt: skip
_NO_BUCKET_CODES: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})
_WRONG_REGION: Final = frozenset({
    "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect",
    "TemporaryRedirect",
})  # fmt: skip
_REGION_FIX: Final = "--region NAME, or --endpoint URL"
# Where instances of clouds ask for credentials that nobody gave.
_INSTANCE: Final = ("169.254.169.254", "169.254.170.2", "metadata.google.internal")


class Kind(Enum):
    """What became of a request."""

    ABSENT = "no such object"
    NO_BUCKET = "no such bucket"
    MOVED = "the condition does not hold"
    BEYOND = "no part of the object is asked for"
    DENIED = "not allowed"
    BUSY = "not done, for now"
    UNSURE = "done or not"
    REFUSED = "not done, and never will be"


class Fault(NamedTuple):
    """One exception, read: `message` follows the words of what was tried."""

    kind: Kind
    message: str
    fix: str = ""


_LATER: Final = "the same again, later"
_ADDRESS: Final = "its address: --endpoint and --region, or AWS_ENDPOINT_URL and AWS_REGION"
# What of an error without an answer means what.
_TEXTS: Final = (
    (("StartTooLarge",), Fault(Kind.BEYOND, "the object ends before")),
    (
        ("UnexpectedRange", "non-partial response"),
        Fault(Kind.REFUSED, "the server does not serve parts of objects (Range)"),
    ),
    (
        ("redirect without LOCATION",),
        Fault(Kind.REFUSED, "the bucket is in another region", f"add {_REGION_FIX}"),
    ),
    (
        ("BadScheme",),
        Fault(Kind.REFUSED, "the endpoint is not https", "use https, or set AWS_ALLOW_HTTP=true"),
    ),
    (
        ("InvalidUri", "RelativeUrlWithoutBase", "InvalidPort"),
        Fault(Kind.REFUSED, "its address cannot be used", f"see {_ADDRESS}"),
    ),
    (
        ('store: "Config"', "Generic Config error"),
        Fault(
            Kind.REFUSED,
            "the settings of the environment cannot be used",
            "see the variables AWS_…, GOOGLE_… or AZURE_… (docs/remote.md, Credentials)",
        ),
    ),
)


def read_fault(error: BaseException) -> Fault:
    """What an exception that obstore raised means; any that is not known is UNSURE."""
    name, text = type(error).__name__, str(error)
    if any(f"//{host}" in text for host in _INSTANCE):
        return Fault(
            Kind.DENIED,
            "no credentials: none in the environment, and this machine has none of its own",
            "set them, for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; for others see "
            "docs/remote.md, Credentials",
        )
    status = _STATUS.search(text)
    if status is not None:
        return _answered(int(status[1]), _code(text), text)
    if name == "InvalidPathError":
        path = _PATH.search(text)
        place = repr(path[1]) if path else "one"
        return Fault(
            Kind.REFUSED,
            f"an object with a name that cannot be listed: {place}",
            "give castore a prefix of its own, or remove that object",
        )
    code = _code(text)
    if name != "FileNotFoundError" and not code.isdigit() and code:
        # What one answer says of an object among many, all with one status.
        denied = code in _DENIED_CODES
        return Fault(Kind.DENIED if denied else Kind.UNSURE, f"the server says {code}")
    return _unanswered(name, text)


def _answered(status: int, code: str, text: str) -> Fault:
    said = f"the server answered {status}" + (f" {code}" if code else "")
    if code in _NO_BUCKET_CODES:
        return Fault(Kind.NO_BUCKET, f"there is no such bucket ({said})", "make it, or see the URL")
    if code in _WRONG_REGION or status in (301, 307, 308):
        region = _REGION.search(text)
        hint = f"--region {region[1]}" if region else _REGION_FIX
        return Fault(Kind.REFUSED, f"the bucket is in another region ({said})", f"add {hint}")
    if code == "RequestTimeTooSkewed":
        return Fault(Kind.DENIED, f"the clock of this machine is wrong ({said})", "set the clock")
    if status in (401, 403) or code in _DENIED_CODES:
        return Fault(
            Kind.DENIED, f"the server refuses these credentials ({said})",
            "see that they are the right ones, and what they allow (docs/remote.md, Permissions)",
        )  # fmt: skip
    if status in (404, 410):
        return Fault(Kind.ABSENT, said)
    if status == 416:
        return Fault(Kind.BEYOND, said)
    # 409 is also the answer to one of two writers in flight; neither may have been first yet.
    if status in (304, 409, 412):
        return Fault(Kind.MOVED, said)
    if status == 429:
        return Fault(Kind.BUSY, said, _LATER)
    if status >= 500 or status == 408:
        return Fault(Kind.UNSURE, said, _LATER)
    return Fault(Kind.REFUSED, said)


def _unanswered(name: str, text: str) -> Fault:
    """What became of a request that has no answer."""
    for marks, known in _TEXTS:
        if any(mark in text for mark in marks):
            return known
    certificate = _CERTIFICATE.search(text)
    if certificate is not None:
        why = certificate[1] or certificate[2]
        return Fault(
            Kind.REFUSED,
            f"the certificate of the server is not trusted ({why})",
            "see the endpoint, and the certificates of this machine",
        )
    if "kind: Connect" in text:
        if "dns error" in text:
            return Fault(Kind.BUSY, "its name is not known to this network", f"see {_ADDRESS}")
        system = _SYSTEM.search(text)
        server = _SERVER.search(text)
        place = f" to {server[1]}" if server else ""
        return Fault(
            Kind.BUSY,
            f"no connection{place} ({system[1] if system else 'none is made'})",
            f"see that the server runs, and {_ADDRESS}",
        )
    if "kind: Timeout" in text or "timed out" in text:
        return Fault(Kind.UNSURE, "no answer in time", f"try again, or see {_ADDRESS}")
    if name == "PreconditionError" or name == "AlreadyExistsError":
        return Fault(Kind.MOVED, "the condition does not hold")
    if name == "FileNotFoundError":
        return Fault(Kind.ABSENT, "no such object")
    if name in ("PermissionDeniedError", "UnauthenticatedError"):
        return Fault(Kind.DENIED, "the server refuses these credentials")
    if name in ("NotSupportedError", "UnknownConfigurationKeyError", "ValueError", "TypeError"):
        return Fault(Kind.REFUSED, f"the request cannot be made ({name})")
    return Fault(Kind.UNSURE, "the connection broke before the answer")


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ""
