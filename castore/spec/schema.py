"""The JSON Schema of specs, for editors that complete and check YAML while it is typed."""

from __future__ import annotations

from typing import Any, Final

from castore.model.limits import NAME_BYTES, PATH_BYTES, SET_ARTIFACTS, TEXT_BYTES
from castore.spec.declaration import ENCODINGS, FORMATS, STORAGES, TYPES
from castore.spec.parse import TITLE_BYTES

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_SEGMENT: Final = "[A-Za-z0-9][A-Za-z0-9._-]*"
_ID: Final = f"^(?!v[0-9]+$)(?![0-9a-fA-F]{{64}}$){_SEGMENT}(/{_SEGMENT})*$"
_NAME: Final = (
    r"^(?!-)(?!\.{1,2}$)(?!\.[gG][iI][tT]$)(?!\.[cC][aA][sS]$)"
    r"[^/\\:@~\u0000-\u001F\u007F-\u00A0\u2028\u2029]+$"
)
_LINE: Final = r"^[^\s]([^\u0000-\u001F\u007F-\u009F\u2028\u2029]*[^\s])?$"
_COMPONENT: Final = (
    r"(?!\.{1,2}(/|$))(?!\.[gG][iI][tT](/|$))(?!\.[cC][aA][sS](/|$))[^/\\\u0000-\u001F]+"
)
_PATH: Final = rf"^(?![A-Za-z]:){_COMPONENT}(/{_COMPONENT})*/*$"


def spec_schema() -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) that accepts what parse_spec accepts, and nearly nothing else.

    It is for YAML as an editor reads it, so texts may come as numbers or truth values. Beyond a
    JSON Schema are: duplicate names, equal or nested places, limits counted in bytes, YAML's own
    traps (anchors, tags, duplicate keys).
    """
    return {
        "$schema": DIALECT,
        "title": "castore spec",
        "description": "Declares the artifacts of a set, their checks and their review.",
        "type": "object",
        "required": ["spec", "version", "artifacts"],
        "additionalProperties": False,
        "properties": {
            "spec": _text("The id, and the branch.", _ID, NAME_BYTES),
            "version": _text("The version of the spec.", r"^[^\s@~:/\\]+$", NAME_BYTES),
            "description": _text("What the set is.", r"\S", TEXT_BYTES),
            "store": _text("A .cas folder beside this file, or a URL.", _LINE, PATH_BYTES),
            "base": _text("Where paths start.", r"^(?!/)[^\\\s]([^\\]*[^\\\s])?$", PATH_BYTES),
            "artifacts": {
                "description": "The artifacts of the set.",
                "type": "array",
                "minItems": 1,
                "maxItems": SET_ARTIFACTS,
                "items": _artifact(),
            },
            "review": _review(),
        },
    }


def _artifact() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["name", "type", "format"],
        "additionalProperties": False,
        "properties": {
            "name": _text("A name that no other artifact has.", _NAME, NAME_BYTES),
            "type": _text("One word.", f"^{_SEGMENT}$", NAME_BYTES) | {"examples": list(TYPES)},
            "format": _choice("What the bytes are; this is checked.", FORMATS),
            "path": _text(
                "File, folder or glob below base; the name if left out.", _PATH, PATH_BYTES
            ),
            "title": _text("A title for people.", _LINE, TITLE_BYTES),
            "required": _flag("Whether the set is incomplete without it.", default=True),
            "storage": _choice("Where the bytes live.", STORAGES),
            "uri": {
                "description": "Where an external artifact lives.",
                "type": "string",
                "pattern": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s]+$",
                "maxLength": PATH_BYTES,
            },
            "digest": _text("The BLAKE3 of an external artifact.", "^[0-9a-f]{64}$", 64),
            "checks": _checks(),
        },
        "if": {"required": ["uri"]},
        "then": {"required": ["storage"], "properties": {"storage": {"const": "external"}}},
    }


def _checks() -> dict[str, Any]:
    return {
        "description": "Checked at each commit, beside the format.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "schema": _text("A JSON Schema beside this file.", _PATH, PATH_BYTES),
            "max_size": _size("At most so many bytes."),
            "min_size": _size("At least so many bytes."),
            "non_empty": _flag("Holds more than white space.", default=False),
            "encoding": _choice("The encoding of the text.", ENCODINGS),
        },
    }


def _review() -> dict[str, Any]:
    return {
        "description": "What counts as approved.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "approvals": {
                "description": "How many different people approve.",
                "type": "integer",
                "minimum": 1,
                "maximum": 999_999_999,
                "default": 1,
            },
            "not_author": _flag("The author's own approval does not count.", default=False),
            "humans_only": _flag("Only people's approvals count.", default=False),
            "reviewers": {
                "description": "Whose approvals count; everybody's if empty.",
                "type": "array",
                "uniqueItems": True,
                "items": _text("An e-mail address or name.", _LINE, 255),
            },
            "signed": _flag("Approvals must be signed.", default=False),
            "forbid_dismiss": _flag("Nobody may dismiss another's review.", default=False),
        },
    }


def _text(description: str, pattern: str, limit: int) -> dict[str, Any]:
    """Text as written; YAML readers make numbers and truth values of some of it."""
    return {
        "description": description,
        "type": ["string", "number", "boolean"],
        "minimum": 0,
        "minLength": 1,
        "maxLength": limit,
        "pattern": pattern,
    }


def _choice(description: str, words: tuple[str, ...]) -> dict[str, Any]:
    return {"description": description, "enum": list(words)}


def _flag(description: str, *, default: bool) -> dict[str, Any]:
    return {"description": description, "type": "boolean", "default": default}


def _size(description: str) -> dict[str, Any]:
    return {
        "description": description,
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": r"^([0-9]{1,15}( ?[bB])?|[0-9]{1,15}(\.[0-9]{1,3})? ?[kKmMgGtT][iI]?[bB])$",
        "examples": [500, "5MB", "2GiB"],
    }
