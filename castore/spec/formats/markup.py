"""XML and SVG: well-formed, without entity declarations; nothing outside the file is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from castore.model.limits import MIB
from castore.spec.formats.source import FAILED, SKIPPED, WHOLE, Finding, Source

DEPTH: Final = 1000
_STEP: Final = 4 * MIB
_PENDING: Final = 16 * MIB
_SVG: Final = ("svg", "http://www.w3.org/2000/svg svg")


class _Refused(Exception):
    """Well-formed perhaps, but not accepted (failed), or not read to its end (skipped)."""

    def __init__(self, detail: str, result: str = FAILED) -> None:
        super().__init__(detail)
        self.result = result


def check_xml(source: Source) -> list[Finding]:
    """Well-formed XML, at most 1,000 levels deep."""
    return _Reading(()).check(source)


def check_svg(source: Source) -> list[Finding]:
    """Well-formed XML whose root element is `svg`."""
    return _Reading(_SVG).check(source)


class _Reading:
    """One pass of expat; the handlers refuse what could expand or reach outside."""

    def __init__(self, roots: tuple[str, ...]) -> None:
        self._roots = roots
        self._depth = 0
        self._seen_root = False

    def check(self, source: Source) -> list[Finding]:
        from xml.parsers import expat

        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = _refuse("declares an entity")
        parser.UnparsedEntityDeclHandler = _refuse("declares an entity")
        parser.ExternalEntityRefHandler = _refuse("refers to an external entity")
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        # expat lets handlers' exceptions through, and codecs named by the file may raise anything.
        try:
            self._feed(parser, source)
        except expat.ExpatError as error:
            reason = expat.ErrorString(error.code) or "not well-formed"
            return [Finding(f"not XML: {reason} (line {error.lineno})", error.lineno)]
        except _Refused as error:
            return [Finding(str(error), parser.CurrentLineNumber, error.result)]
        except (LookupError, ValueError, TypeError) as error:
            return [Finding(f"not XML: {error}", parser.CurrentLineNumber)]
        return []

    def _feed(self, parser: Any, source: Source) -> None:
        if source.size <= WHOLE:
            parser.Parse(source.whole(), True)
            return
        fed, pending = 0, b""
        for block in source.blocks():
            pending += block
            if len(pending) < _STEP:
                continue
            parser.Parse(pending, False)
            fed += len(pending)
            pending = b""
            # expat reads an unfinished token again and again: a long one takes quadratic time.
            if fed - parser.CurrentByteIndex > _PENDING:
                detail = f"one tag or comment of more than {_PENDING // MIB} MiB is not read"
                raise _Refused(detail, SKIPPED)
        parser.Parse(pending, True)

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        if not self._seen_root:
            self._seen_root = True
            if self._roots and name not in self._roots:
                raise _Refused(f"the root element is {name.rpartition(' ')[2][:60]!r}, not 'svg'")
        self._depth += 1
        if self._depth > DEPTH:
            raise _Refused(f"nested deeper than {DEPTH} levels")

    def _end(self, _name: str) -> None:
        self._depth -= 1

    def _doctype(self, _name: str, system: str | None, public: str | None, _internal: int) -> None:
        """W3C's own document types may be named (never read), as SVG writers do; others may not."""
        if system and not (public or "").startswith("-//W3C//"):
            raise _Refused(f"names an external document type ({system[:60]!r}), which is not read")


def _refuse(what: str) -> Callable[..., int]:
    def handler(*_arguments: object) -> int:
        raise _Refused(f"{what}, which is not expanded")

    return handler
