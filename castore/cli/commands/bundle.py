"""`cas bundle`: versions in one file, for where no bucket is shared."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import click

from castore.cli.access import actor, named_place, opened, store_place, user_config
from castore.cli.commands.pull import print_taken, rebased_line
from castore.cli.commands.push import moved_lines
from castore.cli.completing import revisions
from castore.cli.describe import moment
from castore.cli.invocation import Invocation
from castore.cli.output import Output, is_terminal
from castore.cli.paths import files
from castore.cli.progress import Progress
from castore.cli.screen import clean, first_line, plural, size
from castore.cli.verbs import Family, verb
from castore.errors import CorruptObject, InvalidInput, StoreNotFound
from castore.model.ids import short
from castore.model.limits import MIB
from castore.model.names import quoted
from castore.store.bundle_show import BundleInfo, read_bundle
from castore.store.bundle_take import ImportReport, import_bundle, store_from_bundle
from castore.store.bundle_verify import BundleCheck, verify_bundle
from castore.store.bundle_write import BundleReport, create_bundle
from castore.store.config import CONFIG_FILE, KnownIdentity, read_config
from castore.store.opening import clock, find_store
from castore.store.store import Store

_VERSIONS_SHOWN: Final = 20

command = Family(
    "bundle",
    help="Put versions into one file, with history, notes and signatures; verify it; take it in.",
    examples=[
        ("cas bundle create out.bundle weekly-report", "a branch, in one file"),
        ("cas bundle verify out.bundle", "every byte, without a store"),
        ("cas bundle import out.bundle", "take it into the store here"),
    ],
)


@verb(
    "create",
    family=command,
    examples=[
        ("cas bundle create all.bundle", "every branch and tag"),
        ("cas bundle create new.bundle report --since report@v7", "what version 7 has not"),
        ("cas bundle create - | ssh HOST 'cat > all.bundle'", "to stdout"),
    ],
)
@click.argument("file", metavar="FILE", shell_complete=files)
@click.argument("refs", nargs=-1, metavar="[REF]…", shell_complete=revisions)
@click.option(
    "--since", multiple=True, metavar="REV", help="leave out what REV has", shell_complete=revisions
)
@click.option("-f", "--force", is_flag=True, help="write over FILE")
@click.option("-n", "--dry-run", is_flag=True, help="say what would be in it, write nothing")
@click.pass_obj
def create(
    call: Invocation,
    file: str,
    refs: tuple[str, ...],
    since: tuple[str, ...],
    force: bool,
    dry_run: bool,
) -> None:
    """Write branches and tags, or all, to FILE: sets, history, notes, signatures.

    FILE appears when it is whole; - is stdout, unless that is a terminal. With --since it lacks
    what REV has, and is taken in only where REV is; notes go along about those versions too.
    Nothing that the branches do not need is in it.
    """

    def made(path: Path) -> BundleReport:
        with opened(call) as store, Progress(call.output, "bundling") as progress:
            return create_bundle(
                store,
                path,
                refs,
                since=since,
                force=force,
                by=actor(call),
                dry_run=dry_run,
                progress=progress.advance,
            )

    if file == "-" and not dry_run:
        _to_stdout(call.output, made)
        return
    report = made(Path(file))
    if call.output.json:
        call.output.record(report.as_json())
        return
    _print_created(call.output, report)


def _to_stdout(output: Output, made: Callable[[Path], BundleReport]) -> None:
    """Write a bundle to stdout, all of it or nothing, and tell of it on stderr."""
    if output.json or is_terminal(sys.stdout):
        why = "with --json stdout is for the report" if output.json else "stdout is a terminal"
        raise InvalidInput(f"{why}, not for a bundle", fix="cas bundle create out.bundle")
    with tempfile.TemporaryDirectory(prefix="cas-bundle-") as folder:
        report = made(Path(folder) / "bundle")
        with report.path.open("rb") as whole:
            shutil.copyfileobj(whole, sys.stdout.buffer, MIB)
        sys.stdout.buffer.flush()
    output.say(f"wrote {_held(report)}, {size(report.bytes)}; its id is {short(report.id)}")


def _print_created(output: Output, report: BundleReport) -> None:
    for need in report.needs:
        output.row(f"begins after {clean(need.label)} ({short(need.id)})")
    what = _held(report)
    place = clean(str(report.path))
    if report.dry_run:
        output.line(f"would write {place}: {what}, about {size(report.bytes)}")
        return
    output.line(f"wrote {place}: {what}, {size(report.bytes)}; its id is {short(report.id)}")
    output.next(f"cas bundle verify {quoted(place)}")


def _held(report: BundleReport) -> str:
    return ", ".join(
        (
            plural(len(report.refs), "ref"),
            plural(report.versions, "version"),
            plural(report.notes, "note"),
            plural(report.objects, "object"),
        )
    )


@verb(
    "verify",
    family=command,
    examples=[
        ("cas bundle verify out.bundle", "every byte, id and signature"),
        ("cas bundle verify out.bundle --json", "the same as one object, with its id in full"),
    ],
)
@click.argument("file", metavar="FILE", shell_complete=files)
@click.pass_obj
def verify(call: Invocation, file: str) -> int:
    """Verify a bundle without a store: every byte, that it is complete, who signed what.

    Whose keys are known is told by config.toml, of the store if there is one here and of the user.
    Exits with 7 when something is wrong or a signature is invalid. Of one made with --since, what
    it leaves to earlier versions is counted, and compared when it is imported.
    """
    with Progress(call.output, "verifying") as progress:
        found = verify_bundle(Path(file), _identities(call), progress.advance)
    if call.output.json:
        call.output.record(found.as_json())
    else:
        _print_verified(call.output, found)
    return 0 if found.ok else CorruptObject.code


def _identities(call: Invocation) -> Mapping[str, KnownIdentity]:
    config = read_config(user_config())
    with suppress(StoreNotFound):
        config = read_config(find_store(store_place(call)) / CONFIG_FILE).over(config)
    return config.identities


def _print_verified(output: Output, found: BundleCheck) -> None:
    for line in found.report.lines():
        output.line(output.style(clean(line), "red"))
    for signature in found.signatures:
        who = ", ".join(signature.signers) or signature.key or "no signature"
        note = signature.note
        over = f"{note.target_kind} {short(note.target)}"
        output.row(f"{signature.verdict:<7}  {over}  signed by {clean(who)}")
    for need in found.needs:
        output.row(f"begins after {clean(need.label)} ({short(need.id)})")
    counts = found.report.counts
    looked = ", ".join(
        plural(counts[what], what.removesuffix("s"), what)
        for what in ("refs", "versions", "notes", "objects", "packs")
        if counts.get(what)
    )
    verdict = plural(len(found.report.findings) + found.report.more, "finding")
    if found.ok:
        verdict = f"no damage found; its id is {short(found.id)}"
    output.line(f"{verdict}; looked at {looked or 'nothing'}")
    if found.outside:
        output.say(f"{plural(found.outside, 'object')} left to what it begins after: not looked at")
    if not found.ok:
        output.next(found.report.fix)


@verb(
    "show",
    family=command,
    examples=[
        ("cas bundle show out.bundle", "its branches, tags and versions"),
        ("cas bundle show out.bundle --json", "the same as one object, ids in full"),
    ],
)
@click.argument("file", metavar="FILE", shell_complete=files)
@click.pass_obj
def show(call: Invocation, file: str) -> None:
    """Show what is in a bundle: branches and tags, versions, what it begins after, its size.

    No store is needed. Content is not compared: cas bundle verify does that.
    """
    found = read_bundle(Path(file))
    if call.output.json:
        call.output.record(found.as_json())
        return
    _print_info(call.output, found)


def _print_info(output: Output, found: BundleInfo) -> None:
    who = clean(found.by) or "unknown"
    output.row(f"bundle {found.id.hex()}")
    output.row(f"made {moment(found.at)} by {who}, of project {found.project.hex()}")
    numbers = {id: manifest.number for id, manifest in found.versions}
    for ref, id in sorted(found.refs.items()):
        kind, name = ref.split("/", 1)
        number = f"v{numbers[id]}" if id in numbers else "not in it"
        word = "branch" if kind == "heads" else "tag"
        output.row(f"{word:<7} {clean(name)}  {short(id)}  {number}", short(id))
    for need in found.needs:
        output.row(f"begins after {clean(need.label)} ({short(need.id)})")
    for id, manifest in found.versions[:_VERSIONS_SHOWN]:
        label = f"{clean(manifest.branch)}@v{manifest.number}"
        message = clean(first_line(manifest.message))
        output.row(f"  {label}  {short(id)}  {moment(manifest.at)}  {message}".rstrip(), short(id))
    if len(found.versions) > _VERSIONS_SHOWN:
        output.row(f"  … and {len(found.versions) - _VERSIONS_SHOWN:,} more: --json tells all")
    what = ", ".join(
        (
            plural(len(found.versions), "version"),
            plural(found.notes, "note"),
            plural(found.objects, "object"),
        )
    )
    output.line(f"{what}: {size(found.bytes)}, {size(found.content_bytes)} unpacked")


@verb(
    "import",
    family=command,
    examples=[
        ("cas bundle import out.bundle", "all of it, into the store here"),
        ("cas bundle import out.bundle weekly-report -n", "what one branch would bring"),
        ("cas bundle import --init out.bundle", "into a new store here"),
    ],
)
@click.argument("file", metavar="FILE", shell_complete=files)
@click.argument("refs", nargs=-1, metavar="[REF]…")
@click.option("--rebase", is_flag=True, help="make versions that only are here anew after its own")
@click.option("--init", "fresh", is_flag=True, help="make a store of its project first")
@click.option("-n", "--dry-run", is_flag=True, help="say what would come, change nothing")
@click.pass_obj
def import_command(
    call: Invocation, file: str, refs: tuple[str, ...], rebase: bool, fresh: bool, dry_run: bool
) -> None:
    """Take branches and tags of a bundle in, or all, with what they need and what is said of them.

    Every byte is compared before it is stored. Refs move last, all or none, branches only forwards:
    exit 4 where one has versions here that the bundle lacks, unless --rebase makes those anew after
    the bundle's. Notes are added to those here. What it begins after must be here: exit 3.
    """
    if fresh and (refs or rebase or dry_run):
        raise click.UsageError("--init takes all of a bundle: leave the others out")
    path = Path(file)
    with Progress(call.output, "importing") as progress:
        if fresh:
            place = (named_place(call) or Path()).absolute()
            store, report = store_from_bundle(
                path,
                place,
                by=actor(call),
                progress=progress.advance,
                now=clock,
                entropy=os.urandom,
            )
            store.close()
        else:
            with _opened(call, file) as store:
                report = import_bundle(
                    store,
                    path,
                    refs,
                    rebase=rebase,
                    by=actor(call),
                    dry_run=dry_run,
                    progress=progress.advance,
                )
    if call.output.json:
        call.output.record(report.as_json())
        return
    _print_imported(call.output, report)


@contextmanager
def _opened(call: Invocation, file: str) -> Iterator[Store]:
    try:
        with opened(call) as store:
            yield store
    except StoreNotFound as error:
        # A store that `cas init` makes is of another project.
        error.fix = f"cas bundle import --init {quoted(file)}"
        raise


def _print_imported(output: Output, report: ImportReport) -> None:
    place = clean(str(report.path))
    for line in moved_lines(report.moves):
        output.row(line)
    for old in report.rebased:
        output.row(rebased_line(old))
    if not report.changed:
        output.line(f"nothing new in {place}")
    else:
        said = "would import" if report.dry_run else "imported"
        what = f"{plural(report.versions, 'version')}, {plural(report.notes, 'note')}"
        what += f", {plural(report.objects, 'object')}"
        output.line(f"{said} {what} from {place}: {size(report.bytes)}")
    print_taken(output, report.rebased, report.takes_back)
    for name in report.ahead:
        output.say(f"{clean(name)} has versions here that the bundle has not")
