"""Variables of the environment that obstore reads by itself: looked at before it does.

It ends in a panic on some that are garbled. Nothing here reads the environment: who does tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from castore.errors import InvalidInput

_ENDPOINTS: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_NAMES: Final = {
    "s3": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "gs": (),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME",),
}
_SWITCHES: Final = {
    "s3": ("AWS_ALLOW_HTTP", "AWS_DISABLE_BULK_DELETE", "AWS_SKIP_SIGNATURE"),
    "gs": ("GOOGLE_SKIP_SIGNATURE",),
    "az": ("AZURE_ALLOW_HTTP", "AZURE_USE_AZURE_CLI", "AZURE_SKIP_SIGNATURE"),
}
_ENDPOINT: Final = r"(?i:https?)://[!-.0-~]+(/[!-~]*)?"
_NAME: Final = r"[A-Za-z0-9._-]*"
_SWITCH: Final = r"(?i:1|true|on|yes|y|0|false|off|no|n)"
_told: dict[str, str] = {}


def tell_variables(environ: Mapping[str, str]) -> None:
    """Say what the environment of this process is."""
    _told.clear()
    _told.update(
        (name, environ[name])
        for table in (_ENDPOINTS, _NAMES, _SWITCHES)
        for names in table.values()
        for name in names
        if name in environ
    )


def check_variables(scheme: str, *, endpoint: bool, region: bool) -> None:
    """Raise InvalidInput for a variable that obstore would read for this scheme and is garbled.

    `endpoint` and `region` say that one is given, and those variables do not count.
    """
    for name in () if endpoint else _ENDPOINTS[scheme]:
        if name in _told and not _is_endpoint(_told[name]):
            raise _garbled(name, "no endpoint", f"export {name}=https://HOST:PORT")
    for name in () if endpoint or region else _NAMES[scheme]:
        if not re.fullmatch(_NAME, _told.get(name, "")):
            what = "region" if name.endswith("REGION") else "account"
            raise _garbled(name, f"no {what}", f"export {name}=NAME")
    for name in _SWITCHES[scheme]:
        if name in _told and not re.fullmatch(_SWITCH, _told[name]):
            raise _garbled(name, "neither true nor false", f"export {name}=true")


def _is_endpoint(value: str) -> bool:
    try:
        parts = urlsplit(value)
        # Asked for, since only that looks at it.
        return bool(re.fullmatch(_ENDPOINT, value) and parts.hostname and parts.port != 0)
    except ValueError:
        return False


def _garbled(name: str, what: str, fix: str) -> InvalidInput:
    value = _told[name]
    shown = "a text with '@'" if "@" in value else repr(value[:80])
    said = f"{shown} is {what}" if value else "it is empty"
    return InvalidInput(f"the variable {name}: {said}", fix=f"unset {name}, or {fix}")
