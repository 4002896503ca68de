"""YAML text to a Spec; every fault is found and reported, with line, column and fix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from castore.model.limits import NAME_BYTES, PATH_BYTES, SET_ARTIFACTS
from castore.model.names import check_artifact_name, check_branch, check_path
from castore.spec import values
from castore.spec.addresses import read_digest, read_uri
from castore.spec.declaration import (
    ENCODINGS,
    FORMATS,
    STORAGES,
    Checks,
    Declared,
    ReviewPolicy,
    Spec,
)
from castore.spec.faults import Faults, near, shown
from castore.spec.guess import guess_format
from castore.spec.loader import EXAMPLE, ListNode, MapNode, Node, ScalarNode, load
from castore.spec.shapes import list_form, text_form

SPEC_KEYS: Final = ("spec", "version", "description", "store", "base", "artifacts", "review")
ARTIFACT_KEYS: Final = (
    "name", "type", "format", "path", "title", "required", "storage", "uri", "digest", "checks",
)  # fmt: skip
CHECK_KEYS: Final = ("schema", "max_size", "min_size", "non_empty", "encoding")
REVIEW_KEYS: Final = (
    "approvals", "not_author", "humans_only", "reviewers", "signed", "forbid_dismiss",
)  # fmt: skip
POLICY_KEYS: Final = ("review", "require")
REQUIREMENTS: Final = ("complete", "approved", "valid", "fresh", "signed")
"""What a policy file may require of a version."""
_POLICY_FORM: Final = "write\nreview: {approvals: 2, not_author: true}"
_SYNONYMS: Final = {
    "artifacts": ("contents", "files", "items", "members", "outputs", "products", "results"),
    "base": ("dir", "directory", "folder", "root", "workdir"),
    "checks": ("check", "constraints", "rules", "tests", "validate", "validation", "validators"),
    "description": ("about", "comment", "desc", "summary"),
    "encoding": ("charset", "codec"),
    "format": ("content_type", "extension", "mime", "mime_type", "mimetype", "media_type"),
    "max_size": ("limit", "max", "max_bytes", "maxsize", "size", "size_max"),
    "min_size": ("min", "min_bytes", "minsize", "size_min"),
    "name": ("id", "key"),
    "non_empty": ("empty", "nonempty", "not_empty"),
    "path": ("file", "filename", "glob", "location", "pattern", "place", "target"),
    "require": ("demand", "gate", "needs", "requires", "requirements"),
    "required: false": ("optional",),
    "required": ("mandatory", "must", "needed"),
    "review": ("approval", "policies", "policy"),
    "schema": ("json_schema", "jsonschema"),
    "spec": ("id", "identifier"),
    "storage": ("external", "stored"),
    "store": ("database", "repo", "repository"),
    "title": ("caption", "heading", "label"),
    "type": ("category", "class", "kind"),
    "uri": ("address", "href", "link", "source", "url"),
    "version": ("spec_version", "ver"),
    "approvals": ("approvers", "count", "min_approvals", "required_approvals"),
    "forbid_dismiss": ("dismiss", "no_dismiss"),
    "humans_only": ("human", "humans", "no_agents", "people_only", "persons_only"),
    "not_author": ("author", "no_self_review", "self_review"),
    "reviewers": ("by", "people", "users", "who"),
    "signed": ("sign", "signature", "signatures"),
}
"""What people write for a key that a place may have; the first that it has is meant."""

VERSION: Final = re.compile(r"[^\s@~:/\\]+\Z")
TYPE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_DOTTED: Final = re.compile(r"(?:\./)+([^./].*)")
TITLE_BYTES: Final = 1000


def parse_spec(text: bytes, where: str = "spec") -> Spec:
    """The spec written in `text`, at most 256 KiB of UTF-8 YAML; `where` names it in messages.

    Raises InvalidSpec with all faults as {line, column, message, fix}, in the order of the file.
    """
    faults = Faults()
    root = load(text, faults)
    spec = _spec(root, faults) if root is not None else None
    if faults or spec is None:
        raise faults.error(where)
    return spec


def parse_policy(text: bytes, where: str = "policy") -> tuple[ReviewPolicy, tuple[str, ...]]:
    """What a policy file says: `review:` as in a spec, and the words of `require:`.

    At most 256 KiB of UTF-8 YAML. Raises InvalidSpec with all faults, as `parse_spec`.
    """
    faults = Faults()
    root = load(text, faults)
    policy = ReviewPolicy()
    require: tuple[str, ...] = ()
    if root is not None and (node := values.mapping(root, "the policy", faults, _POLICY_FORM)):
        fields = _Fields(node, "the policy", POLICY_KEYS, faults)
        review, required = fields.get("review"), fields.get("require")
        policy = _review(review, faults) if review is not None else policy
        require = _requirements(required, faults) if required is not None else ()
    if faults or root is None:
        raise faults.error(where)
    return policy, require


def _requirements(node: Node, faults: Faults) -> tuple[str, ...]:
    found = values.texts(node, "require", faults, NAME_BYTES) or ()
    for word in found:
        if word not in REQUIREMENTS:
            message = f"require: {shown(word)} is not one of {', '.join(REQUIREMENTS)}"
            faults.add(node.line, node.column, message, near(word, REQUIREMENTS) or "remove it")
    return found


def _spec(root: Node, faults: Faults) -> Spec | None:
    if not isinstance(root, MapNode):
        kind = "a list" if isinstance(root, ListNode) else "text"
        faults.add(root.line, root.column, f"the spec is {kind}, not a mapping of keys", EXAMPLE)
        return None
    fields = _Fields(root, "spec", SPEC_KEYS, faults)
    id = values.checked(node, "spec", faults, check_branch) if (node := fields.need("spec")) else ""
    version = _version(node, faults) if (node := fields.need("version")) else ""
    description = fields.get("description")
    artifacts = fields.need("artifacts", EXAMPLE)
    review = fields.get("review")
    return Spec(
        id=id or "",
        version=version or "",
        description=(values.text(description, "description", faults) or "") if description else "",
        store=_place_of_store(fields.get("store"), faults),
        base=_base(fields.get("base"), faults),
        artifacts=_artifacts(artifacts, root, faults) if artifacts is not None else (),
        review=_review(review, faults) if review is not None else ReviewPolicy(),
    )


class _Fields:
    """The keys of one mapping; what is unknown or absent is noted."""

    def __init__(self, node: MapNode, what: str, known: Sequence[str], faults: Faults) -> None:
        self._node = node
        self._values = {key.text: value for key, value in node.items}
        self._what = what
        self._faults = faults
        for key, _ in node.items:
            if key.text not in known and not faults.full:
                message = f"unknown key {shown(key.text)} in {what}"
                faults.add(key.line, key.column, message, _key_fix(key.text, known))

    def get(self, key: str) -> Node | None:
        """The value under `key`, or None."""
        return self._values.get(key)

    def need(self, key: str, fix: str = "") -> Node | None:
        """The value under a required key; its absence is a fault."""
        node = self._values.get(key)
        if node is None:
            message = f"{self._what} has no `{key}:`"
            self._faults.add(self._node.line, self._node.column, message, fix or f"add `{key}: …`")
        return node


def _key_fix(key: str, known: Sequence[str]) -> str:
    word = key.casefold().replace("-", "_")
    if word in known:
        return f"write {word}"
    top = () if known == POLICY_KEYS else SPEC_KEYS
    for place, keys in (
        ("stands at the top of the spec, beside `artifacts:`", top),
        ("belongs under `checks:`", CHECK_KEYS),
        ("belongs under `review:`", REVIEW_KEYS),
        ("belongs to an artifact", ARTIFACT_KEYS),
    ):
        if word in keys:
            return f"`{word}:` {place}"
    for meant, others in _SYNONYMS.items():
        if word in others and meant.partition(":")[0] in known:
            return f"write {meant}"
    guess = near(word, known)
    return f"write {guess}" if guess else f"remove it; known are {' '.join(known)}"


def _version(node: Node, faults: Faults) -> str | None:
    value = values.line_of_text(node, "version", faults, NAME_BYTES)
    if value is not None and not VERSION.match(value):
        message = f"version {shown(value)} may not hold blanks or @ ~ : / \\"
        faults.add(node.line, node.column, message)
    return value


def _place_of_store(node: Node | None, faults: Faults) -> str:
    if node is None:
        return ""
    return values.line_of_text(node, "store", faults, PATH_BYTES) or ""


def _base(node: Node | None, faults: Faults) -> str:
    value = values.line_of_text(node, "base", faults, PATH_BYTES) if node is not None else "."
    if node is not None and value and (value.startswith("/") or "\\" in value):
        message = f"base {shown(value)} must be relative to the spec, with '/' between folders"
        faults.add(node.line, node.column, message)
    return (value or ".").rstrip("/")


def _artifacts(node: Node, root: MapNode, faults: Faults) -> tuple[Declared, ...]:
    items: list[tuple[str, Node]] = []
    if isinstance(node, ListNode):
        items = [("", item) for item in node.items]
        if not items:
            faults.add(node.line, node.column, "`artifacts:` is empty", EXAMPLE)
    elif isinstance(node, MapNode):
        items = _mapping_of_artifacts(node, root, faults)
    elif not node.faulty:
        what = "has no value" if node.void else f"is the text {shown(node.text)}, not a list"
        fix = EXAMPLE if node.void else f"write it as a list:\nartifacts:\n{text_form(node.text)}"
        faults.add(node.line, node.column, f"`artifacts:` {what}", fix)
    if len(items) > SET_ARTIFACTS:
        message = f"{len(items)} artifacts; a set holds at most {SET_ARTIFACTS}"
        faults.add(node.line, node.column, message)
        return ()
    declared: list[Declared] = []
    for index, (name, item) in enumerate(items):
        artifact = None if faults.full else _artifact(name, item, index, faults)
        if artifact is not None:
            declared.append(artifact)
    _check_names(declared, faults)
    _check_places(declared, faults)
    return tuple(declared)


def _mapping_of_artifacts(node: MapNode, root: MapNode, faults: Faults) -> list[tuple[str, Node]]:
    """`artifacts:` written as name → settings, or with a `store:` inside: a fault with the form."""
    has_store = any(key.text == "store" for key, _ in node.items)
    message = "`artifacts:` is a mapping; it must be a list, each item beginning with `- name:`"
    if has_store:
        message = (
            "`store:` stands under `artifacts:`; it belongs beside it, and `artifacts:` is a list"
        )
    fix = f"write it as a list:\n{list_form(node, with_store=root.get('store') is None)}"
    faults.add(node.line, node.column, message, fix)
    return [(key.text, value) for key, value in node.items if isinstance(value, MapNode)]


def _artifact(name: str, node: Node, index: int, faults: Faults) -> Declared | None:
    what = f"artifact {index + 1}"
    if not isinstance(node, MapNode):
        if not (isinstance(node, ScalarNode) and node.faulty):
            form = text_form(node.text if isinstance(node, ScalarNode) else "")
            message = f"{what} is not a mapping with name, type and format"
            faults.add(node.line, node.column, message, f"write\n{form}")
        return None
    named = node.get("name")
    if isinstance(named, ScalarNode) and named.text:
        name = name or named.text
    what = f"artifact {shown(name)}" if name else what
    fields = _Fields(node, what, ARTIFACT_KEYS, faults)
    if named is not None:
        name = values.checked(named, "name", faults, check_artifact_name) or ""
    elif not name:
        fields.need("name")
    path = _path(fields.get("path"), name, faults)
    format, type = _format_and_type(fields, path or name, faults)
    storage = fields.get("storage")
    uri = read_uri(fields.get("uri"), faults)
    stored = values.choice(storage, "storage", faults, STORAGES) if storage else "stored"
    if uri and stored == "stored" and (given := fields.get("uri")):
        message = f"{what} has a `uri:` and is not external"
        faults.add(given.line, given.column, message, "add `storage: external`, or remove `uri:`")
    title, required, checks = fields.get("title"), fields.get("required"), fields.get("checks")
    return Declared(
        name=name,
        type=type,
        format=format,
        path=path or name,
        title=(values.line_of_text(title, "title", faults, TITLE_BYTES) or "") if title else "",
        required=values.flag(required, "required", faults) is not False if required else True,
        storage=stored or "stored",
        uri=uri,
        digest=read_digest(fields.get("digest"), stored or "", faults),
        checks=_checks(checks, what, faults) if checks is not None else Checks(),
        line=node.line,
        column=node.column,
    )


def _format_and_type(fields: _Fields, path: str, faults: Faults) -> tuple[str, str]:
    format_node, type_node = fields.get("format"), fields.get("type")
    if format_node is None or type_node is None:
        guessed_format, guessed_type = guess_format(path)
        fields.need("format", f"add `format: {guessed_format}`")
        fields.need("type", f"add `type: {guessed_type}`")
    format = values.choice(format_node, "format", faults, FORMATS) if format_node else ""
    type = values.line_of_text(type_node, "type", faults, NAME_BYTES) if type_node else ""
    if type_node and type and not TYPE.match(type):
        message = f"type {shown(type)} must be one word of letters, digits, '.', '_', '-'"
        faults.add(type_node.line, type_node.column, message, f"write {guess_format(path)[1]}")
    return format or "", type or ""


def _path(node: Node | None, name: str, faults: Faults) -> str:
    if node is None:
        return name
    fix = "write a path below `base:`; only `base:` may hold `..`"
    if isinstance(node, ScalarNode) and (below := _DOTTED.match(node.text)):
        fix = f"write {below[1]}"

    def check(path: str) -> None:
        check_path(path.rstrip("/") or path, "path")

    path = values.checked(node, "path", faults, check, fix)
    return path.rstrip("/") if path else ""


def _checks(node: Node, owner: str, faults: Faults) -> Checks:
    form = "write\nchecks: {max_size: 5MB, non_empty: true}"
    map_node = values.mapping(node, "checks", faults, form)
    if map_node is None:
        return Checks()
    fields = _Fields(map_node, f"the checks of {owner}", CHECK_KEYS, faults)
    schema, encoding = fields.get("schema"), fields.get("encoding")
    most, least, non_empty = (fields.get(key) for key in ("max_size", "min_size", "non_empty"))
    checks = Checks(
        schema=_path(schema, "", faults) if schema else "",
        max_size=_or(values.size(most, "max_size", faults) if most else None, -1),
        min_size=_or(values.size(least, "min_size", faults) if least else None, -1),
        non_empty=bool(values.flag(non_empty, "non_empty", faults)) if non_empty else False,
        encoding=values.choice(encoding, "encoding", faults, ENCODINGS) or "" if encoding else "",
    )
    if least and -1 < checks.max_size < checks.min_size:
        message = f"min_size {checks.min_size} is more than max_size {checks.max_size}"
        faults.add(least.line, least.column, message)
    return checks


def _review(node: Node, faults: Faults) -> ReviewPolicy:
    map_node = values.mapping(node, "review", faults, "write\nreview: {approvals: 1}")
    if map_node is None:
        return ReviewPolicy()
    fields = _Fields(map_node, "review", REVIEW_KEYS, faults)
    approvals, reviewers = fields.get("approvals"), fields.get("reviewers")

    def flag(key: str) -> bool:
        value = fields.get(key)
        return bool(values.flag(value, key, faults)) if value is not None else False

    return ReviewPolicy(
        approvals=_or(values.count(approvals, "approvals", faults) if approvals else None, 1),
        not_author=flag("not_author"),
        humans_only=flag("humans_only"),
        reviewers=(values.texts(reviewers, "reviewers", faults, 255) or ()) if reviewers else (),
        signed=flag("signed"),
        forbid_dismiss=flag("forbid_dismiss"),
    )


def _check_names(artifacts: Sequence[Declared], faults: Faults) -> None:
    first: dict[str, int] = {}
    for artifact in artifacts:
        if artifact.name in first:
            where = f"first on line {first[artifact.name]}"
            message = f"artifact {artifact.name!r} is declared twice, {where}"
            faults.add(artifact.line, artifact.column, message, "give each its own name")
        elif artifact.name:
            first[artifact.name] = artifact.line


def _check_places(artifacts: Sequence[Declared], faults: Faults) -> None:
    """Note each place that equals another or lies inside it (not just the first)."""
    placed = [(artifact.place.split("/"), artifact) for artifact in artifacts if artifact.place]
    placed.sort(key=lambda pair: (pair[0], pair[1].line, pair[1].column))
    open: list[tuple[list[str], Declared]] = []
    for parts, artifact in placed:
        while open and parts[: len(open[-1][0])] != open[-1][0]:
            open.pop()
        if open and open[-1][1].name != artifact.name:
            outer, other = open[-1]
            how = "is also that of" if parts == outer else "lies inside that of"
            message = (
                f"the place {artifact.place!r} of artifact {artifact.name!r} {how} "
                f"{other.name!r} on line {other.line}"
            )
            faults.add(artifact.line, artifact.column, message, "give each its own place")
        open.append((parts, artifact))


def _or(value: int | None, default: int) -> int:
    return default if value is None else value
