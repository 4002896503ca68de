"""Configuration: `config.toml` of a store, and for what that leaves open the one of its user.

    [cache]
    size = "5GB"                          # of contents in the cache of a bucket

    [gc]
    grace = "30d"                         # an age: 30d, 12h, 2w; or 0

    [identity."reviewer@example.org"]     # case does not matter
    kind = "person"                       # or "agent"
    keys = ["ssh-ed25519 AAAA..."]        # public keys, as in authorized_keys

    [signing]
    key = "~/.ssh/id_ed25519"             # a private key, or the public one of an agent's

    [secrets]
    allow = ["jwt"]                       # rules whose findings are let through, and recorded

    [remote.origin]                       # what `cas remote add` writes
    url = "s3://bucket/prefix"            # or gs://, az://, file://; credentials are never here
    endpoint = "https://minio.example"    # where it is not the cloud's own
    contents = "on-demand"                # files come when they are read
    region = "eu-central-1"

A key that castore does not know is an error, since what it was meant to change would stay as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from castore.database.datafile import open_at_once
from castore.errors import InvalidInput
from castore.model.limits import KIB, parse_size
from castore.model.names import check_secret_rules, check_segment, near_names, quoted
from castore.remote.address import check_endpoint, check_region, parse_url
from castore.store.moments import parse_age

CONFIG_FILE: Final = "config.toml"
ON_DEMAND: Final = "on-demand"
_BYTES_MAX: Final = 256 * KIB
_TABLES: Final = ("cache", "gc", "identity", "remote", "secrets", "signing")
_CREDENTIAL: Final = r"(?i).*(key|secret|token|password|credential|sas|account|profile).*"
_KINDS: Final = ("person", "agent")
_NO_CREDENTIALS: Final = (
    "credentials are not kept here, where others read them: they come from the environment"
)
_PLACE: Final = r" \(at (?:line (\d+), column \d+|end of document)\)\Z"
_DIGITS: Final = r"[0-9_]{600}"
# A parser that holds each beginning of a key takes gigabytes for one of 100,000 parts.
_LONG_KEY: Final = (
    r"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){16}"""
)
_SHOWN: Final = 60
# To find the line of each takes reading the file again.
_FAULTS_MAX: Final = 50

_Path: TypeAlias = tuple[str, ...]


class KnownIdentity(NamedTuple):
    """An identity somebody vouches for: a person or an agent, and its public SSH keys."""

    kind: Literal["person", "agent"] = "person"
    keys: tuple[str, ...] = ()


class KnownRemote(NamedTuple):
    """A bucket that has a name here; "" where the cloud's own endpoint or region is meant.

    `contents` is ON_DEMAND where files are fetched only when they are read, else "".
    """

    url: str
    endpoint: str = ""
    region: str = ""
    contents: str = ""

    def check(self) -> None:
        """Raise InvalidInput for what names no bucket; its words hold no credentials."""
        if self.contents not in ("", ON_DEMAND):
            raise InvalidInput(
                f"contents {self.contents[:40]!r}: unknown", fix=f'contents = "{ON_DEMAND}"'
            )
        address = parse_url(self.url)
        check_endpoint(address, self.endpoint)
        check_region(address, self.region)


class Config(NamedTuple):
    """What is configured; `grace` is microseconds, `cache` bytes, None where nothing is said.

    `identities` are by name, in lower case; `signing_key` is the file of a key, `secrets`
    are rules whose findings are let through; `remotes` are by name.
    """

    grace: int | None = None
    identities: Mapping[str, KnownIdentity] = MappingProxyType({})
    signing_key: Path | None = None
    secrets: tuple[str, ...] = ()
    remotes: Mapping[str, KnownRemote] = MappingProxyType({})
    cache: int | None = None

    def over(self, other: Config) -> Config:
        """This, and what only the other says; an identity or remote is taken as a whole."""
        return Config(
            other.grace if self.grace is None else self.grace,
            {**other.identities, **self.identities},
            self.signing_key or other.signing_key,
            tuple(dict.fromkeys((*self.secrets, *other.secrets))),
            {**other.remotes, **self.remotes},
            other.cache if self.cache is None else self.cache,
        )


class _Fault(NamedTuple):
    """What is wrong at a key; `fix` is an edit."""

    path: _Path
    message: str
    fix: str


def read_config(file: Path) -> Config:
    """The configuration in a file, an empty one if there is no file; raises InvalidInput.

    A relative path in it begins at the folder of the file, `~` at the home of the user.
    """
    try:
        with open_at_once(file) as opened:
            data = opened.read(_BYTES_MAX + 1)
    except (FileNotFoundError, NotADirectoryError):
        return Config()
    except OSError as error:
        raise InvalidInput(
            f"{str(file)!r} cannot be read: {error.strerror}",
            fix=f"make it a file that you may read, or remove it: ls -ld {quoted(str(file))}",
        ) from None
    found = parse_config(data, str(file))
    if found.signing_key is None:
        return found
    try:
        key = found.signing_key.expanduser()
    except RuntimeError:
        raise InvalidInput(f"{str(file)!r}: signing.key: nobody's home is known") from None
    return found._replace(signing_key=file.parent / key)


def parse_config(data: bytes, where: str) -> Config:
    """The configuration written as `data`; `where` names it in messages.

    Raises InvalidInput: at most 50 faults in the message, `where` and `line` of the first as
    attributes.
    """
    if len(data) > _BYTES_MAX:
        raise InvalidInput(
            f"{where!r} has more than {_BYTES_MAX} bytes", where=where, fix=f"edit {where}"
        )
    if all(line.lstrip()[:1] in (b"", b"#") for line in data.splitlines()):
        return Config()
    text, table = _table(data, where)
    faults: list[_Fault] = []
    config = _Reader(faults).read(table)
    if faults:
        told = faults[:_FAULTS_MAX]
        placed = [(_line(text, fault.path), fault) for fault in told]
        raise _invalid(where, placed, len(faults) - len(told))
    return config


def _table(data: bytes, where: str) -> tuple[str, dict[str, Any]]:
    # Not loaded for a file that says nothing: it takes longer than reading a page of history.
    import tomllib

    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _invalid(where, [(line, _Fault((), "not UTF-8", "save it as UTF-8"))]) from None
    if long := re.search(_LONG_KEY, text):
        line = text.count("\n", 0, long.start()) + 1
        raise _invalid(where, [(line, _Fault((), "a key of more than 16 parts", ""))])
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = re.search(_PLACE, said)
        line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1
        message = re.sub(_PLACE, "", said)
        message = f"not TOML: {message[:1].lower()}{message[1:]}"
        fix = 'write KEY = "VALUE" below a [TABLE]; a comment begins with #'
        raise _invalid(where, [(line, _Fault((), message, fix))]) from None
    except RecursionError:
        raise _invalid(where, [(1, _Fault((), "not TOML: nested too deep", ""))]) from None
    except ValueError:
        # Python refuses to make a number of so many digits, and does not say where they stand.
        digits = re.search(_DIGITS, text)
        line = text.count("\n", 0, digits.start()) + 1 if digits else 1
        raise _invalid(where, [(line, _Fault((), "a number has too many digits", ""))]) from None


class _Reader:
    """Takes a parsed file apart, and notes every fault."""

    def __init__(self, faults: list[_Fault]) -> None:
        self._faults = faults

    def read(self, table: dict[str, Any]) -> Config:
        found = {
            key: self._mapping((key,), value) for key, value in self._known((), table, _TABLES)
        }
        cache = grace = None
        for key, value in self._known(("cache",), found.get("cache", {}), ("size",)):
            cache = self._size(("cache", key), value)
        for key, value in self._known(("gc",), found.get("gc", {}), ("grace",)):
            grace = self._age(("gc", key), value)
        signing: Path | None = None
        for name, value in self._known(("signing",), found.get("signing", {}), ("key",)):
            signing = self._file(("signing", name), value)
        allowed: tuple[str, ...] = ()
        for name, value in self._known(("secrets",), found.get("secrets", {}), ("allow",)):
            allowed = self._rules(("secrets", name), value)
        identities = dict(self._identities(found.get("identity", {})))
        remotes = dict(self._remotes(found.get("remote", {})))
        return Config(grace, identities, signing, allowed, remotes, cache)

    def _identities(self, table: dict[str, Any]) -> Iterator[tuple[str, KnownIdentity]]:
        seen: set[str] = set()
        for name, value in table.items():
            path = ("identity", name)
            if name.lower() in seen:
                self._fault(path, f"identity {name!r} stands here twice", "keep one of them")
            seen.add(name.lower())
            if not isinstance(value, dict):
                fix = f'[identity."{name}"] on a line of its own, kind and keys below it'
                self._fault(path, "an identity is a table", fix)
                continue
            kind: Literal["person", "agent"] = "person"
            keys: tuple[str, ...] = ()
            for key, item in self._known(path, value, ("kind", "keys")):
                if key == "keys":
                    keys = self._texts((*path, key), item)
                elif item in _KINDS:
                    kind = item
                else:
                    self._fault(
                        (*path, key),
                        f"kind is person or agent, not {_shown(item)}",
                        'kind = "person"',
                    )
            yield name.lower(), KnownIdentity(kind, keys)

    def _remotes(self, table: dict[str, Any]) -> Iterator[tuple[str, KnownRemote]]:
        for name, value in table.items():
            path = ("remote", name)
            try:
                check_segment(name, "remote")
            except InvalidInput as error:
                self._fault(path, error.message, "[remote.origin]")
                continue
            if not isinstance(value, dict):
                fix = f"[remote.{name}] on a line of its own, its url below it"
                self._fault(path, "a remote is a table", fix)
                continue
            before = len(self._faults)
            given = {
                key: self._text((*path, key), item)
                for key, item in self._known(path, value, KnownRemote._fields)
            }
            remote = KnownRemote(**{"url": "", **given})
            try:
                if len(self._faults) == before:
                    remote.check()
            except InvalidInput as error:
                self._fault(path, f"remote {name!r}: {error.message}", error.fix)
            yield name, remote

    def _text(self, path: _Path, value: object) -> str:
        if isinstance(value, str):
            return value
        self._fault(path, f"{path[-1]!r} is a text", f'{path[-1]} = "…"')
        return ""

    def _known(
        self, path: _Path, table: dict[str, Any], known: tuple[str, ...]
    ) -> Iterator[tuple[str, Any]]:
        for key, value in table.items():
            if key in known:
                yield key, value
                continue
            name = ".".join((*path, key))
            if path[:1] == ("remote",) and re.fullmatch(_CREDENTIAL, key):
                self._fault((*path, key), f"{name!r}: {_NO_CREDENTIALS}", "remove it, and see "
                            "docs/remote.md, Credentials")  # fmt: skip
                continue
            hint = near_names(key, known)
            fix = f"remove it, or use {', '.join(known)}"
            self._fault((*path, key), f"there is no setting {name!r}{hint}", fix)

    def _mapping(self, path: _Path, value: object) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        self._fault(path, f"{path[-1]!r} is a table", f"[{path[-1]}] on a line of its own")
        return {}

    def _texts(self, path: _Path, value: object) -> tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        self._fault(path, f"{path[-1]!r} is a list of texts", f'{path[-1]} = ["…", "…"]')
        return ()

    def _rules(self, path: _Path, value: object) -> tuple[str, ...]:
        ids = self._texts(path, value)
        try:
            check_secret_rules(ids, "secrets.allow")
        except InvalidInput as error:
            self._fault(path, error.message, error.fix)
        return ids

    def _file(self, path: _Path, value: object) -> Path | None:
        if isinstance(value, str) and value and value.isprintable():
            return Path(value)
        name = ".".join(path)
        self._fault(path, f"{name} is the path of a file", f'{path[-1]} = "~/.ssh/id_ed25519"')
        return None

    def _age(self, path: _Path, value: object) -> int | None:
        try:
            if isinstance(value, str) or (type(value) is int and value == 0):
                return parse_age(str(value))
        except InvalidInput:
            pass
        name = ".".join(path)
        message = f"{name} is an age such as 30d, 12h or 0, not {_shown(value)}"
        self._fault(path, message, f'{path[-1]} = "30d"')
        return None

    def _size(self, path: _Path, value: object) -> int | None:
        size = parse_size(value) if isinstance(value, str) else value
        if type(size) is int and 0 <= size < 1 << 62:
            return size
        message = f"{'.'.join(path)} is a size such as 5GB or 500MiB, not {_shown(value)}"
        self._fault(path, message, f'{path[-1]} = "5GB"')
        return None

    def _fault(self, path: _Path, message: str, fix: str) -> None:
        self._faults.append(_Fault(path, message, fix))


def _shown(value: object) -> str:
    """A value as people may see it, cut short."""
    try:
        text = repr(value)
    except ValueError:
        # A hexadecimal number of more digits than Python writes as a decimal one.
        return "this number"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _line(text: str, path: _Path) -> int:
    """The line from which on the parsed text holds this key; the last one if that is not found."""
    import tomllib

    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if path[-1] not in line:
            continue
        try:
            table: Any = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:
            # A value that goes on below begins behind its key.
            if line.lstrip(" \t\"'").startswith(path[-1]):
                return number
            continue
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        if table is not None:
            return number
    return len(lines)


def _invalid(where: str, faults: list[tuple[int, _Fault]], others: int = 0) -> InvalidInput:
    faults.sort(key=lambda item: item[0])
    line, first = faults[0]
    more = [f"line {at}: {fault.message}" for at, fault in faults[1:]]
    if others:
        more.append(f"and {others} more")
    return InvalidInput(
        "\n".join([f"{where} line {line}: {first.message}", *more]),
        fix=f"edit {where} line {line}: {first.fix}" if first.fix else "",
        where=where,
        line=line,
    )
