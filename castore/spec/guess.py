"""What a file probably is, from its name and its first bytes."""

from __future__ import annotations

from typing import Final

HEAD_BYTES: Final = 4096
"""As many first bytes as guess_format looks at."""

_DEFAULT_TYPES: Final = {
    "markdown": "document", "html": "page", "json": "dataset", "jsonl": "dataset",
    "csv": "dataset", "tsv": "dataset", "yaml": "config", "toml": "config", "xml": "dataset",
    "text": "document", "python": "code", "pdf": "document", "png": "image", "jpeg": "image",
    "gif": "image", "svg": "image", "webp": "image", "parquet": "dataset", "arrow": "dataset",
    "zip": "export", "tar": "export", "sqlite": "dataset", "folder": "export", "binary": "export",
}  # fmt: skip

_BY_SUFFIX: Final = {
    "md": "markdown", "markdown": "markdown", "html": "html", "htm": "html", "json": "json",
    "geojson": "json", "jsonl": "jsonl", "ndjson": "jsonl", "csv": "csv", "tsv": "tsv",
    "tab": "tsv", "yaml": "yaml", "yml": "yaml", "toml": "toml", "xml": "xml", "txt": "text",
    "log": "text", "rst": "text", "py": "python", "pyi": "python", "pdf": "pdf", "png": "png",
    "jpg": "jpeg", "jpeg": "jpeg", "gif": "gif", "svg": "svg", "webp": "webp",
    "parquet": "parquet", "pq": "parquet", "arrow": "arrow", "feather": "arrow", "zip": "zip",
    "whl": "zip", "jar": "zip", "docx": "zip", "xlsx": "zip", "pptx": "zip", "tar": "tar",
    "tgz": "tar", "tar.gz": "tar", "tar.bz2": "tar", "tar.xz": "tar", "tbz2": "tar", "txz": "tar",
    "sqlite": "sqlite", "sqlite3": "sqlite", "db": "sqlite", "ipynb": "json",
}  # fmt: skip

_TYPES_BY_SUFFIX: Final = {
    "ipynb": "analysis", "docx": "document", "pptx": "document", "xlsx": "dataset",
    "rst": "document", "whl": "code", "jar": "code",
} | dict.fromkeys(
    ("js", "mjs", "ts", "tsx", "jsx", "rs", "go", "c", "h", "cc", "cpp", "hpp", "java", "rb", "sh",
     "bash", "sql", "r", "jl", "php", "cs", "kt", "swift", "lua", "pl", "css", "scss"),
    "code",
) | dict.fromkeys(("ini", "cfg", "conf", "env", "lock"), "config")  # fmt: skip

_MAGIC: Final = (
    (b"%PDF-", "pdf"), (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"), (b"GIF89a", "gif"), (b"PAR1", "parquet"), (b"ARROW1", "arrow"),
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"SQLite format 3\0", "sqlite"),
)  # fmt: skip


def guess_format(name: str, head: bytes = b"") -> tuple[str, str]:
    """The (format, type) of a file called `name` that begins with `head`.

    The suffix decides; without a known one the bytes do, else it is text or binary. A name that
    ends with `/` is a folder. `.db` is SQLite only if its bytes say so, or none are given.
    """
    base = name.rstrip("/").rpartition("/")[2].casefold()
    if name.endswith("/"):
        return "folder", _DEFAULT_TYPES["folder"]
    suffixes = [base.split(".", 1)[1]] if "." in base else []
    parts = base.split(".")
    suffixes = [".".join(parts[index:]) for index in range(1, len(parts))][-2:]
    suffix = next((s for s in suffixes if s in _BY_SUFFIX), suffixes[-1] if suffixes else "")
    format = _BY_SUFFIX.get(suffix, "")
    if format == "sqlite" and head and _by_magic(head) != "sqlite":
        format = ""
    if not format:
        code = suffix in _TYPES_BY_SUFFIX
        format = _by_magic(head) or ("text" if code and not head else _by_text(head))
    return format, _type(base, suffix, format)


def _type(base: str, suffix: str, format: str) -> str:
    if format in ("xml", "json", "jsonl", "html", "text") and (
        "junit" in base or "test-result" in base or "test_result" in base
    ):
        return "test-result"
    return _TYPES_BY_SUFFIX.get(suffix) or _DEFAULT_TYPES[format]


def _by_magic(head: bytes) -> str:
    for magic, format in _MAGIC:
        if head.startswith(magic):
            return format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[257:262] == b"ustar":
        return "tar"
    return ""


def _by_text(head: bytes) -> str:
    if not head:
        return "binary"
    head = head[:HEAD_BYTES]
    if b"\0" in head:
        return "binary"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3 or error.reason != "unexpected end of data":
            return "binary"
        text = head[: error.start].decode("utf-8")
    first = text.lstrip("\ufeff").lstrip()
    if first.startswith("#!") and "python" in first.split("\n", 1)[0]:
        return "python"
    lowered = first[:200].casefold()
    if lowered.startswith(("<!doctype html", "<html")):
        return "html"
    if lowered.startswith("<?xml"):
        return "svg" if "<svg" in first.casefold() else "xml"
    return "svg" if lowered.startswith("<svg") else "text"
