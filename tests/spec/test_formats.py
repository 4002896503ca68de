"""Each format's own rules, and the hostile files made against them."""

from __future__ import annotations

import bz2
import csv
import gzip
import lzma
import struct
import sys
import warnings
import zipfile

import pytest

from castore.spec.formats.images import dimensions
from tests.spec.samples import (
    PDF,
    check,
    database,
    format_of,
    passes,
    picture,
    png_of,
    sound,
    tarred,
    zipped,
)

SVG_DOCTYPE = (
    b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" '
    b'"http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
)


def verdict(format: str, data: bytes) -> tuple[str, int | None]:
    """Result and line of the format check."""
    result = format_of(format, data)
    return result.result, result.line


def test_text_has_no_nul_and_is_utf_8() -> None:
    assert verdict("text", b"a\nb\0") == ("failed", 2)
    assert verdict("markdown", b"a\n\n\xffb") == ("failed", 3)
    assert verdict("html", b"x" * 262_143 + "é".encode() + b"\n\xff") == ("failed", 2)
    assert passes("text", b"")


@pytest.mark.parametrize(
    ("data", "line", "detail"),
    [
        (b"a,b\n1\n1,2,3\n", 2, "1 field; the first row has 2"),
        (b'a,b\n"x\ny",1\n1\n', 4, "1 field"),
        (b'a,b\n1,"x\n', 2, "never closed"),
        (b'a,b\n1,"x"y\n', 2, "expected after"),
        (b"a,b\n1,\0\n", 2, "NUL"),
        (b"a,b\n1,\xff\n", 2, "not utf-8"),
    ],
)
def test_csv_faults(data: bytes, line: int, detail: str) -> None:
    result = format_of("csv", data)
    assert (result.result, result.line) == ("failed", line)
    assert detail in result.detail


@pytest.mark.parametrize(
    "data",
    [
        b"a\n1\n",
        b"a;b\n1,5;2\n",
        b"a,b\r\n1,2\r\n",
        b"\xef\xbb\xbfa,b\n1,2",
        b"a,b\n\n1,2\n\n",
        b'a,"b\n\nc"\n1,2\n',
    ],
)
def test_good_csv(data: bytes) -> None:
    assert passes("csv", data)


@pytest.mark.parametrize(
    "data", [b'a,b\n1,"' + b"x\n" * csv.field_size_limit() + b'"\n', b"a,b\n" + b"1," * 3_000_000]
)
def test_huge_fields_and_lines_are_not_read(data: bytes) -> None:
    result = format_of("csv", data)
    assert (result.result, result.line) == ("skipped", 2)
    assert "not read" in result.detail


def test_every_bad_row_is_listed_up_to_a_hundred() -> None:
    results = check("csv", b"a,b\n" + b"1\n" * 5)
    assert [result.line for result in results] == [2, 3, 4, 5, 6]
    results = check("csv", b"a,b\n" + b"1\n" * 500)
    assert len(results) == 101
    assert "more than 100" in results[-1].detail


def test_tsv_splits_at_tabs() -> None:
    assert passes("tsv", b"a\tb\n1,2\t3\n")
    assert verdict("tsv", b"a\tb\n1 2\n") == ("failed", 2)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"a: 1\nb: [1\nc: 2", 3),
        (b"a: 1\na: 2", 2),
        (b"a: 1\nb: *x", 2),
        (b"a\tb: 1\n\t- x", 2),
        (b"[" * 101, 1),
        (b"[" * 1_000_000, 1),
        (b"x: \xff", 1),
        (b"x: \0", None),
    ],
)
def test_yaml_faults(data: bytes, line: int | None) -> None:
    result, found = verdict("yaml", data)
    assert result == "failed"
    assert line is None or found == line


def test_yaml_data_may_do_what_specs_may_not() -> None:
    laugh = b"a: &a [x, x]\nb: &b [*a, *a]\n<<: *b\n--- !tag\nc: 1\n...\n"
    assert passes("yaml", laugh)
    assert passes("yaml", b"")
    assert verdict("yaml", b"%TAG !e! a\n" * 5000 + b"--- x")[0] == "skipped"
    assert verdict("yaml", b"a: &x 1\n---\nb: *x\n") == ("failed", 3)


@pytest.mark.parametrize(
    ("data", "result", "line"),
    [
        (b"a = 1\na = 2", "failed", 2),
        (b"a = ", "failed", 1),
        (b"a = 2026-13-01", "failed", 1),
        (b"a = " + b"[" * 100_000, "failed", None),
        (b"a = " + b"9" * 5000, "failed", None),
        (b"a." * 40 + b"b = 1", "skipped", None),
        (b"[" + b"a." * 400_000 + b"b]", "skipped", None),
        (b"#" * (1 << 20 | 1), "skipped", None),
        (b"a = \xff", "failed", 1),
    ],
)
def test_toml_faults(data: bytes, result: str, line: int | None) -> None:
    found, at = verdict("toml", data)
    assert found == result
    assert line is None or at == line


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"<a>", "no element found"),
        (b"<a>\n</b>", "mismatched tag"),
        (b'<!DOCTYPE a [<!ENTITY b "x">]><a>&b;</a>', "declares an entity"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', "declares an entity"),
        (b'<!DOCTYPE a [<!ENTITY % b SYSTEM "http://x/"> %b;]><a/>', "declares an entity"),
        (b'<!DOCTYPE a SYSTEM "http://x.y/z.dtd"><a/>', "external document type"),
        (b'<!DOCTYPE a PUBLIC "-//X//Y" "http://x.y/z.dtd"><a/>', "external document type"),
        (b"<a>&nbsp;</a>", "undefined entity"),
        (b"<a>" * 1001, "nested deeper"),
        (b"<a>" * 5_000_000, "nested deeper"),
        (b'<?xml version="1.0" encoding="rot13"?><a/>', "not XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><a/>', "not XML"),
        (b"plain", "not XML"),
    ],
)
def test_xml_faults(data: bytes, detail: str) -> None:
    result = format_of("xml", data)
    assert result.result == "failed"
    assert detail in result.detail
    assert result.line == (2 if b"\n" in data else 1)


def test_a_huge_tag_in_a_huge_file_is_not_read() -> None:
    result = format_of("xml", b'<a b="' + b"x" * (50 << 20) + b'"/>')
    assert (result.result, result.line) == ("skipped", 1)
    assert "one tag" in result.detail


def test_a_huge_file_of_small_tags_passes() -> None:
    assert passes("xml", b"<a>" + b"<b>x</b>\n" * (4 << 20) + b"</a>")


def test_svg_has_an_svg_root() -> None:
    assert passes("svg", b"<svg/>")
    assert passes("svg", SVG_DOCTYPE + b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    assert passes("svg", b'<s:svg xmlns:s="http://www.w3.org/2000/svg"/>')
    assert "root element is 'g'" in format_of("svg", b"<g><svg/></g>").detail
    assert verdict("svg", b'<svg xmlns="http://example.org/"/>')[0] == "failed"


PYTHON_TRAPS = {
    "brackets": "(" * 100_000,
    "signs": "-" * 100_000 + "1",
    "attributes": "a" + ".b" * 100_000,
    "calls": "a" + "()" * 100_000,
    "sums": "1" + "+1" * 100_000,
    "lambdas": "lambda:" * 30_000 + "1",
    "conditions": "1" + " if 1 else 1" * 10_000,
    "elifs": "if 1:pass\n" + "elif 1:pass\n" * 10_000,
    "digits": "1" * 100_000,
    "format strings": 'f"{' * 50_000,
    "NUL": "a\0b",
    "indentation": "if 1:\n pass\n  x",
    "nothing after": "if 1:",
}


@pytest.mark.parametrize("name", PYTHON_TRAPS)
def test_python_that_does_not_compile(name: str) -> None:
    data = PYTHON_TRAPS[name].encode("utf-8", "surrogateescape")
    result = format_of("python", data)
    assert result.result == "failed"
    assert "not compile" in result.detail


def test_python_is_never_run_and_never_warns() -> None:
    code = b"import sys\nsys.castore_was_here = True\nx = '\\d' is 1\nassert (x, 'y')\n"
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert passes("python", code)
    assert not caught
    assert warnings.filters == before
    assert not hasattr(sys, "castore_was_here")


def test_python_encodings() -> None:
    assert passes("python", b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    assert verdict("python", b"#!/usr/bin/python\n# coding: utf_8\nx = '\xe9'\n") == ("failed", 3)
    assert verdict("python", b"# coding: punycode\nx") == ("skipped", 1)
    assert passes("python", b"x = 1\n# coding: nonsense\n")
    assert verdict("python", b"a = 1\nb = = 2\n") == ("failed", 2)
    assert verdict("python", b"x\n" * 200_000)[0] == "skipped"


def test_pdf_offsets_are_followed() -> None:
    assert passes("pdf", b"junk before\n" + PDF)
    assert "past the end" in format_of("pdf", PDF.replace(b"\n45\n", b"\n4500\n")).detail
    assert "no cross-reference" in format_of("pdf", PDF.replace(b"\n45\n", b"\n5\n")).detail
    assert "/Root" in format_of("pdf", PDF.replace(b"/Root", b"/Toor")).detail
    assert "startxref" in format_of("pdf", PDF + b" " * 5000).detail
    stream = (
        b"%PDF-1.5\n5 0 obj\n<< /Type /XRef /Root 1 0 R >>\nstream\nendstream\nstartxref\n9\n%%EOF"
    )
    assert passes("pdf", stream)
    assert "/Root" in format_of("pdf", stream.replace(b"/Root", b"/Toor")).detail


def test_a_long_pdf_table_is_read_to_its_trailer() -> None:
    rows = b"0000000000 65535 f \n" * 20_000
    long = PDF.replace(b"0000000000 65535 f \n", rows).replace(b"0 2\n", b"0 20001\n", 1)
    assert passes("pdf", long)


@pytest.mark.parametrize("format", ["png", "jpeg", "gif", "webp"])
def test_image_sizes_are_read_from_the_header(format: str) -> None:
    assert dimensions(picture(format, (37, 23)), format) == (37, 23)
    assert dimensions(b"", format) is None


def test_images_of_another_format_fail() -> None:
    assert "begins with" in format_of("png", picture("jpeg")).detail


def test_image_bombs_are_not_decoded() -> None:
    result = format_of("png", png_of(50_000, 50_000))
    assert (result.result, result.detail) == (
        "skipped",
        "50000 × 50000 pixels; up to 24 million are decoded",
    )
    assert verdict("png", png_of(4000, 4000))[0] == "failed"
    gif = b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + bytes(100)
    assert verdict("gif", gif)[0] == "skipped"
    assert verdict("jpeg", b"\xff\xd8" + b"\xff" * 1_000_000)[0] == "failed"
    assert verdict("jpeg", b"\xff\xd8" + b"\xff\x01" * 1_000_000)[0] == "failed"


def test_a_png_with_a_wrong_checksum_fails() -> None:
    data = bytearray(picture("png"))
    data[40] ^= 1
    assert verdict("png", bytes(data))[0] == "failed"


def test_zip_checksums_are_tested() -> None:
    data = bytearray(zipped({"a": b"one" * 100}, zipfile.ZIP_STORED))
    data[50] ^= 1
    result = format_of("zip", bytes(data))
    assert result.result == "failed"
    assert "member 'a'" in result.detail


def test_zip_bombs_are_unpacked_only_so_far() -> None:
    result = format_of("zip", zipped({f"{i}": bytes(64 << 20) for i in range(5)}))
    assert result.result == "passed"
    assert "listed but not unpacked" in result.detail


def test_zips_that_declare_too_much() -> None:
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 1 << 30, 0, 0)
    assert verdict("zip", end)[0] == "failed"
    assert verdict("zip", end + bytes(1))[0] == "failed"
    many = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 9, 9, 17 << 20, 0, 0)
    assert verdict("zip", bytes(18 << 20) + many)[0] == "skipped"


def test_lzma_members_are_listed_only() -> None:
    result = format_of("zip", zipped({"a": b"x"}, zipfile.ZIP_LZMA))
    assert (result.result, result.detail) == ("passed", "1 of 1 members listed but not unpacked")
    assert passes("zip", zipped({"a": b"x"}, zipfile.ZIP_BZIP2))
    assert passes("zip", zipped({}))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_tars(mode: str) -> None:
    members = {"a": b"one", "b" * 200: b"two" * 5000, "c/é": b""}
    data = tarred(members, mode)
    assert passes("tar", data)
    assert passes("tar", tarred({}, mode))
    assert verdict("tar", data[: len(data) // 3])[0] == "failed"


def test_a_tar_with_a_damaged_header_fails() -> None:
    data = bytearray(tarred({"a": b"one", "b": b"two"}))
    data[1024] ^= 1
    assert "bad header after 1 members" in format_of("tar", bytes(data)).detail


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_junk_is_no_tar(pack: object) -> None:
    assert callable(pack)
    assert verdict("tar", pack(b"x" * 100_000))[0] == "failed"


def test_a_tar_bomb_is_left_early() -> None:
    header = bytearray(tarred({"a": b""})[:512])
    header[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 256 + sum(header[156:]))
    bomb = b"".join(
        [gzip.compress(bytes(header) + bytes(1 << 20)), *[gzip.compress(bytes(1 << 24))] * 70]
    )
    assert verdict("tar", bomb)[0] == "skipped"


def test_sqlite_pages_are_counted_and_checked() -> None:
    data = database("create table t(a);" + "insert into t values (zeroblob(3000));" * 20)
    assert passes("sqlite", data)
    assert "2 of 22 pages" in format_of("sqlite", data[:8192]).detail
    damaged = data[:4096] + bytes([255]) * 100 + data[4196:]
    assert verdict("sqlite", damaged)[0] == "failed"
    assert "pages" in format_of("sqlite", data[:16] + b"\x00\x03" + data[18:]).detail
    assert verdict("sqlite", data + b"x")[0] == "failed"


def test_sqlite_in_write_ahead_mode_passes() -> None:
    data = database("create table t(a);")
    assert passes("sqlite", data[:18] + b"\x02\x02" + data[20:])


@pytest.mark.timeout(20)
def test_nothing_in_a_database_is_run() -> None:
    endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select max(x) from c"
    data = database(
        f"create table t(a check (length(hex(zeroblob(a))) > 0)); create view v as {endless};"
        f"create trigger g after insert on t begin insert into t select * from v; end;"
        "create table u(a, b as (a) not null); insert into u values (1);"
        "pragma writable_schema = on; update sqlite_master set sql = "
        "'create table u(a, b as (hex(zeroblob(900000000))) not null)' where name = 'u';"
    )
    assert verdict("sqlite", data)[0] in ("passed", "failed")


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_columnar_footers_are_bounded(format: str) -> None:
    data = sound()[format]
    magic = data[-4:] if format == "parquet" else data[-6:]
    body = data[: -len(magic) - 4]
    for length in (0, len(data), 0xFFFFFFFF):
        bad = body + length.to_bytes(4, "little") + magic
        assert "footer" in format_of(format, bad).detail
    assert verdict(format, data[:-1])[0] == "failed"
    assert verdict(format, magic)[0] == "failed"


def test_arrow_streams_and_encrypted_parquet() -> None:
    assert passes("arrow", b"\xff\xff\xff\xff" + (8).to_bytes(4, "little") + bytes(8))
    assert (
        verdict("arrow", b"\xff\xff\xff\xff" + (80).to_bytes(4, "little") + bytes(8))[0] == "failed"
    )
    assert "encrypted" in format_of("parquet", b"PAR1" + bytes(8) + b"PARE").detail


def test_binary_is_anything() -> None:
    assert passes("binary", b"")
    assert passes("binary", b"\0\xff")
