"""`cas export`: the catalogue as a table, a version in the words of other tools."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import click

from castore.cli.access import full_rev, opened
from castore.cli.completing import revisions
from castore.cli.invocation import Invocation
from castore.cli.paths import files, folders
from castore.cli.tables import csv_lines
from castore.cli.verbs import Family, verb
from castore.errors import InvalidInput, WouldOverwrite
from castore.store.catalogue import table
from castore.store.export_intoto import statement
from castore.store.export_openlineage import events
from castore.store.export_rocrate import crate, write_crate
from castore.store.selectors import resolve_version
from castore.store.sql import write_parquet
from castore.store.store import Store
from castore.store.version import Version

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., object])

command = Family(
    "export",
    help="Write what the store knows in the formats of other tools.",
    examples=[
        ("cas export catalogue --format csv", "every version, for a spreadsheet"),
        ("cas export intoto report@v7", "where one version comes from, as a statement"),
    ],
)


@verb(
    "catalogue",
    family=command,
    examples=[
        ("cas export catalogue --format csv -o versions.csv", "every version"),
        ("cas export catalogue --table artifacts --format jsonl", "every artifact, to stdout"),
    ],
)
@click.option("--table", "name", default="versions", metavar="TABLE", help="which (versions)")
@click.option(
    "--format", type=click.Choice(["csv", "jsonl", "parquet"]), help="(csv; with --json jsonl)"
)
@click.option("-o", "--output", default="", metavar="FILE", help="a new file", shell_complete=files)
@click.pass_obj
def catalogue(call: Invocation, name: str, format: str | None, output: str) -> None:
    """Write a table of the catalogue: one row for each version, artifact or other thing.

    Tables: versions, partials, artifacts, sources, checks, notes, refs, operations. What is not
    known is null, in CSV empty. Parquet needs the extra castore[sql], and -o. With --json the rows
    are lines of JSON on stdout; with -o the file is as --format says, and JSON tells what was
    written.
    """
    if call.output.json and not output and format == "csv":
        raise click.UsageError("--json and --format csv: leave one out, or name a file with -o")
    format = format or ("jsonl" if call.output.json and not output else "csv")
    found = table(name)
    with opened(call) as store:
        if format == "parquet":
            if not output:
                raise click.UsageError("Parquet is no text: name a file with -o")
            write_parquet(store, name, Path(output))
            _wrote(call, output)
            return
        rows = found.rows(store)
        if format == "jsonl":
            _write(call, (json.dumps(row) + "\n" for row in rows), output)
            return
        columns = list(found.columns)
        lines = csv_lines(columns, ([row[key] for key in columns] for row in rows))
        _write(call, (line + "\n" for line in lines), output)


def _of_version(function: AnyFunction) -> AnyFunction:
    function = click.argument("rev", metavar="REV", shell_complete=revisions)(function)
    return click.pass_obj(function)  # type: ignore[return-value]


def _version(store: Store, rev: str) -> Version:
    return resolve_version(store, full_rev(store, rev))


@verb(
    "intoto",
    family=command,
    examples=[
        ("cas export intoto report@v7", "the statement, to stdout"),
        ("cas export intoto report@v7 -o report.intoto.json", "or to a file, to be signed"),
    ],
)
@click.option("-o", "--output", default="", metavar="FILE", help="a new file", shell_complete=files)
@_of_version
def intoto(call: Invocation, rev: str, output: str) -> None:
    """Write an in-toto statement about a version, with SLSA provenance.

    Its subjects are all files, by SHA-256 and BLAKE3. It is not signed.
    """
    with opened(call) as store:
        _write(call, statement(store, _version(store, rev)), output)


@verb(
    "openlineage",
    family=command,
    examples=[
        ("cas export openlineage report@v7", "its events, one a line"),
        ("cas export openlineage report@v7 -o events.ndjson", "to a file"),
    ],
)
@click.option("-o", "--output", default="", metavar="FILE", help="a new file", shell_complete=files)
@_of_version
def openlineage(call: Invocation, rev: str, output: str) -> None:
    """Write the making of a version as OpenLineage events, one JSON object a line."""
    with opened(call) as store:
        found = events(store, _version(store, rev))
        _write(call, (json.dumps(event) + "\n" for event in found), output)


@verb(
    "ro-crate",
    family=command,
    examples=[
        ("cas export ro-crate report@v7 -o report-crate", "a folder with the files"),
        ("cas export ro-crate report@v7", "the metadata alone, to stdout"),
    ],
)
@click.option(
    "-o", "--output", default="", metavar="DIR", help="a new folder", shell_complete=folders
)
@_of_version
def ro_crate(call: Invocation, rev: str, output: str) -> None:
    """Write a version as an RO-Crate 1.1: a folder with its files, or the metadata alone."""
    with opened(call) as store:
        version = _version(store, rev)
        if output:
            write_crate(store, version, Path(output))
            _wrote(call, output)
        else:
            _write(call, iter([json.dumps(crate(store, version), indent=2) + "\n"]), "")


def _write(call: Invocation, pieces: Iterator[str], output: str) -> None:
    """Write text to stdout, or to a new file that appears when it is whole."""
    if not output:
        # Whole, or nothing: what it rests on may turn out to be gone.
        with tempfile.TemporaryFile("w+", encoding="utf-8") as whole:
            whole.writelines(pieces)
            whole.seek(0)
            if sys.stdout is not None:
                shutil.copyfileobj(whole, sys.stdout)
        return
    if os.path.lexists(output):
        raise WouldOverwrite(f"{output!r} is there already", fix="name another file with -o")
    unfinished = f"{output}.{os.getpid()}.unfinished"
    try:
        with open(unfinished, "x", encoding="utf-8") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.link(unfinished, output)
    except FileExistsError:
        raise WouldOverwrite(f"{output!r} is there already", fix="name another file") from None
    except OSError as error:
        fix = "name another file with -o"
        raise InvalidInput(f"{output!r} cannot be written: {error.strerror}", fix=fix) from None
    finally:
        if os.path.lexists(unfinished):
            os.unlink(unfinished)
    _wrote(call, output)


def _wrote(call: Invocation, output: str) -> None:
    if call.output.json:
        call.output.record({"written": output})
    else:
        call.output.line(f"wrote {output}")
