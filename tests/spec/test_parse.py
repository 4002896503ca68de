"""The spec's own rules: the documented form parses, and each mistake is told with its mending."""

from __future__ import annotations

import pytest

from castore.errors import InvalidSpec
from castore.spec.declaration import Checks, Declared, ReviewPolicy
from castore.spec.parse import parse_spec
from tests.spec.samples import HEAD, ONE, faults, places

EXAMPLE = """\
spec: weekly-report            # required: the id; also the branch
version: "1.1"                 # required
description: …                 # optional
store: .cas                    # optional
base: .                        # optional
artifacts:
  - name: summary              # required, unique
    type: document             # any word
    format: markdown           # checked
    path: summary.md           # file, folder, or glob
    title: Executive summary   # optional
    required: true             # default
    storage: stored            # stored | external
    checks: {schema: summary.schema.json, max_size: 5MB, min_size: 1, non_empty: true, encoding: utf-8}
review: {approvals: 2, not_author: true, humans_only: true, reviewers: [reviewer@example.org], signed: true, forbid_dismiss: true}
"""  # noqa: E501


def artifact(body: str) -> Declared:
    """The one artifact of a spec whose artifact has these further keys."""
    text = f"{HEAD}artifacts:\n  - {{name: a, type: x, format: csv, {body}}}\n"
    return parse_spec(text.encode()).artifacts[0]


def messages(body: str) -> list[str]:
    """The faults of such an artifact."""
    found = faults(f"{HEAD}artifacts:\n  - {{name: a, type: x, format: csv, {body}}}\n")
    return [fault["message"] for fault in found]


def fixes(text: str) -> list[str]:
    """The fixes of all faults."""
    return [fault["fix"] for fault in faults(text)]


def test_the_documented_example() -> None:
    spec = parse_spec(EXAMPLE.encode())
    assert (spec.id, spec.version, spec.description) == ("weekly-report", "1.1", "…")
    assert (spec.store, spec.base) == (".cas", ".")
    assert spec.artifacts == (
        Declared(
            name="summary",
            type="document",
            format="markdown",
            path="summary.md",
            title="Executive summary",
            checks=Checks("summary.schema.json", 5_000_000, 1, True, "utf-8"),
            line=7,
            column=5,
        ),
    )
    reviewers = ("reviewer@example.org",)
    assert spec.review == ReviewPolicy(2, True, True, reviewers, True, True)
    assert spec.get("summary") == spec.artifacts[0]
    assert spec.get("other") is None
    assert spec.files == ("summary.schema.json",)


def test_the_smallest_spec_has_the_defaults() -> None:
    spec = parse_spec((HEAD + ONE).encode())
    (declared,) = spec.artifacts
    assert declared == Declared("a", "document", "text", "a", line=4, column=5)
    assert (declared.required, declared.storage, declared.checks) == (True, "stored", Checks())
    assert (spec.store, spec.base, spec.description, spec.files) == ("", ".", "", ())
    assert spec.review == ReviewPolicy()


@pytest.mark.parametrize(
    ("written", "text"),
    [("1.10", "1.10"), ("NO", "NO"), ("2026-11-22", "2026-11-22"), ("1e3", "1e3"), ("007", "007")],
)
def test_texts_stay_as_written(written: str, text: str) -> None:
    spec = parse_spec(
        f"spec: report\nversion: {written}\ndescription: {written}\nartifacts:\n"
        f"  - {{name: {written}, type: {written}, format: csv, title: {written}}}\n".encode()
    )
    (declared,) = spec.artifacts
    assert (spec.version, spec.description) == (text, text)
    assert (declared.name, declared.type, declared.title, declared.path) == (text,) * 4


@pytest.mark.parametrize("written", ["", "~", "null", '""', "'  '"])
def test_a_key_without_a_value_is_a_fault(written: str) -> None:
    (fault,) = faults(f"{HEAD}description: {written}\n{ONE}")
    assert "description has no value" in fault["message"]
    assert fault["fix"]


def test_every_fault_is_reported() -> None:
    text = (
        "spec: v7\n"
        "versoin: 1\n"
        "artifacts:\n"
        "  - name: a/b\n"
        "    type: two words\n"
        "    format: md\n"
        "    path: ../x\n"
        "    required: yes\n"
        "    storage: cloudy\n"
        "    uri: nowhere\n"
        "    checks: {max_size: big, min_size: -1, non_empty: 1, encoding: ebcdic, schem: x}\n"
        "review: {approvals: 0, reviewers: me, humans: true}\n"
    )
    assert places(text) == [
        (1, 1),
        (1, 7),
        (2, 1),
        (4, 11),
        (5, 11),
        (6, 13),
        (7, 11),
        (8, 15),
        (9, 14),
        (10, 10),
        (11, 24),
        (11, 39),
        (11, 54),
        (11, 67),
        (11, 75),
        (12, 21),
        (12, 35),
        (12, 39),
    ]


def test_near_misses_are_told_what_was_meant() -> None:
    text = (
        "spec: a\nverison: 1\nversion: 1\nartefacts: x\nartifacts:\n"
        "  - {name: a, type: x, format: jpg, formt: png, max_size: 1, store: s, kind: x}\n"
    )
    assert fixes(text) == [
        "write version",
        "write artifacts",
        "write jpeg",
        "write format",
        "`max_size:` belongs under `checks:`",
        "`store:` stands at the top of the spec, beside `artifacts:`",
        "write type",
    ]


@pytest.mark.parametrize(
    ("format", "fix"),
    [
        ("md", "markdown"),
        (".yml", "yaml"),
        ("JSON", "json"),
        ("markdwn", "markdown"),
        ("py", "python"),
    ],
)
def test_formats_are_recognised(format: str, fix: str) -> None:
    assert fixes(f"{HEAD}artifacts:\n  - {{name: a, type: x, format: {format}}}") == [
        f"write {fix}"
    ]


def test_what_is_missing_is_guessed_in_the_fix() -> None:
    text = f"{HEAD}artifacts:\n  - name: report.md\n  - path: fig.png\n    type: image\n"
    assert fixes(text) == [
        "add `format: markdown`",
        "add `type: document`",
        "add `format: png`",
        "add `name: …`",
    ]


LIST_FORM = "artifacts:\n  - name:"


@pytest.mark.parametrize(
    "artifacts",
    [
        "artifacts:\n  store: .cas\n  - name: a\n    type: x\n    format: csv\n",
        "artifacts:\n  - name: a\n    type: x\n    format: csv\n  store: .cas\n",
        "artifacts:\n  store: .cas\n  a:\n    type: x\n    format: csv\n",
        "artifacts: {store: .cas, list: [{name: a, type: x, format: csv}]}\n",
        "artifacts:\n  store: .cas\n",
    ],
)
def test_a_store_inside_artifacts_is_shown_the_right_form(artifacts: str) -> None:
    first = faults(HEAD + artifacts)[0]
    assert "artifacts:" in first["message"]
    assert first["line"] in (3, 4, 5, 7)
    assert "store: .cas\n" + LIST_FORM in first["fix"]


def test_a_mapping_of_artifacts_is_shown_as_a_list_with_its_own_names() -> None:
    text = (
        f"{HEAD}artifacts:\n"
        "  summary: {type: document, format: markdown, path: out/s.md}\n"
        "  data: {type: dataset, formt: csv}\n"
    )
    found = faults(text)
    assert found[0]["fix"] == (
        "write it as a list:\nartifacts:\n"
        "  - name: summary\n    type: document\n    format: markdown\n    path: out/s.md\n"
        "  - name: data\n    type: dataset\n    formt: csv"
    )
    assert [fault["line"] for fault in found] == [4, 5, 5]


def test_the_right_form_is_a_spec() -> None:
    fix = faults(f"{HEAD}artifacts: {{store: .cas, s: {{type: document, format: csv}}}}\n")[0][
        "fix"
    ]
    spec = parse_spec((HEAD + fix.partition("\n")[2]).encode())
    assert (spec.store, spec.artifacts[0].name) == (".cas", "s")


def test_bare_file_names_are_shown_the_right_form() -> None:
    found = faults(f"{HEAD}artifacts:\n  - out/summary.md\n  - [x]\n")
    assert found[0]["fix"] == (
        "write\n  - name: summary.md\n    type: document\n    format: markdown\n"
        "    path: out/summary.md"
    )
    assert [(fault["line"], fault["column"]) for fault in found] == [(4, 5), (5, 5)]
    assert "- name: a.csv" in faults(f"{HEAD}artifacts: a.csv\n")[0]["fix"]


def test_artifacts_may_not_be_empty_or_absent() -> None:
    for rest in ("", "artifacts:\n", "artifacts: []\n"):
        (fault,) = faults(HEAD + rest)
        assert "artifacts" in fault["message"]
        assert "- name: summary" in fault["fix"]


def test_names_are_unique() -> None:
    text = f"{HEAD}artifacts:\n" + "  - {name: a, type: x, format: csv}\n" * 3
    assert [(line, column) for line, column in places(text)] == [(5, 5), (6, 5)]
    assert "first on line 4" in faults(text)[0]["message"]


def test_places_are_neither_equal_nor_nested() -> None:
    rows = [
        ("a", "o"),
        ("b", "o/x"),
        ("c", "o-p"),
        ("d", "o/x/y/*.csv"),
        ("e", "p/q"),
        ("f", "p/q/"),
    ]
    text = f"{HEAD}artifacts:\n" + "".join(
        f"  - {{name: {name}, type: x, format: csv, path: {path}}}\n" for name, path in rows
    )
    found = faults(text)
    assert [fault["line"] for fault in found] == [5, 7, 9]
    assert "lies inside that of 'a' on line 4" in found[0]["message"]
    assert "lies inside that of 'b' on line 5" in found[1]["message"]
    assert "is also that of 'e' on line 8" in found[2]["message"]


@pytest.mark.parametrize(
    ("path", "place", "is_glob"),
    [
        ("plots/*.png", "plots", True),
        ("plots/2026/fig?.png", "plots/2026", True),
        ("a/b*/c", "a", True),
        ("'*.csv'", "a", True),
        ("plots/", "plots", False),
        ("x/y.csv", "x/y.csv", False),
        ("[id].tsx", "a", True),
    ],
)
def test_the_place_of_a_path(path: str, place: str, is_glob: bool) -> None:
    declared = artifact(f'path: "{path}"' if not path.startswith("'") else f"path: {path}")
    assert (declared.place, declared.is_glob) == (place, is_glob)


def test_a_name_with_wildcards_is_no_glob() -> None:
    spec = parse_spec(f"{HEAD}artifacts:\n  - {{name: 'a*', type: x, format: csv}}\n".encode())
    assert (spec.artifacts[0].place, spec.artifacts[0].is_glob) == ("a*", False)


@pytest.mark.parametrize(
    "path",
    ["/x", "../x", "a/../b", "a\\b", "'C:/x'", "a//b", ".", ".git/x", "a/.CAS", "./a", '"a\\tb"'],
)
def test_places_outside_are_refused(path: str) -> None:
    (fault,) = faults(
        f"{HEAD}artifacts:\n  - name: a\n    type: x\n    format: csv\n    path: {path}\n"
    )
    assert (fault["line"], fault["column"]) == (7, 11)
    assert fault["fix"]


def test_a_path_with_a_dot_is_told_how_to_write_it() -> None:
    assert (
        fixes(f"{HEAD}artifacts:\n  - {{name: a, type: x, format: csv, path: ./o/a}}")[0]
        == "write o/a"
    )


@pytest.mark.parametrize("base", ["/abs", "a\\b"])
def test_base_is_relative(base: str) -> None:
    assert places(f"{HEAD}base: {base}\n{ONE}") == [(3, 7)]


def test_only_base_may_climb() -> None:
    assert parse_spec(f"{HEAD}base: ../out/\n{ONE}".encode()).base == "../out"


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("5MB", 5_000_000),
        ("5 MiB", 5 << 20),
        ("1.5kb", 1500),
        ("512", 512),
        ("'7'", 7),
        ("2GiB", 2 << 30),
        ("0", 0),
        ("3B", 3),
        ("1TB", 10**12),
    ],
)
def test_sizes(written: str, size: int) -> None:
    assert artifact(f"checks: {{max_size: {written}}}").checks.max_size == size


@pytest.mark.parametrize(
    "written", ["-1", "1.5", "1.5B", "5XB", "MB", "[5]", "1e3", "9999999TiB", "~"]
)
def test_what_is_no_size(written: str) -> None:
    (message,) = messages(f"checks: {{max_size: {written}}}")
    assert "is not a size" in message


def test_min_size_is_at_most_max_size() -> None:
    (message,) = messages("checks: {max_size: 1KB, min_size: 1KiB}")
    assert "min_size 1024 is more than max_size 1000" in message


@pytest.mark.parametrize("written", ["yes", "'true'", "1", "on", "[true]", "~"])
def test_truth_values_are_true_and_false(written: str) -> None:
    (message,) = messages(f"required: {written}")
    assert "required" in message
    assert artifact("required: false").required is False


@pytest.mark.parametrize("written", ["0", "-1", "1.0", "'2'", "[1]", "two", "01", "9999999999"])
def test_approvals_are_counted(written: str) -> None:
    assert len(faults(f"{HEAD}{ONE}review: {{approvals: {written}}}\n")) == 1


def test_reviewers_are_a_list_of_different_names() -> None:
    text = f"{HEAD}{ONE}review: {{reviewers: [a@b.c, a@b.c, [x], '']}}\n"
    assert len(faults(text)) == 3
    assert fixes(f"{HEAD}{ONE}review: {{reviewers: a@b.c}}\n") == ["write [a@b.c]"]


@pytest.mark.parametrize("section", ["checks: [a]", "checks: x"])
def test_checks_are_a_mapping(section: str) -> None:
    assert len(messages(section)) == 1


def test_a_uri_needs_external_storage() -> None:
    assert artifact("storage: external, uri: 's3://b/k'").uri == "s3://b/k"
    (message,) = messages("uri: 's3://b/k'")
    assert "not external" in message


@pytest.mark.parametrize("uri", ["nowhere", "s3://a b", "'://x'"])
def test_a_uri_has_a_scheme(uri: str) -> None:
    assert len(messages(f"storage: external, uri: {uri}")) == 1


def test_a_digest_pins_an_external_artifact() -> None:
    digest = "ab" * 32
    assert artifact(f"storage: external, digest: '{digest}'").digest == bytes.fromhex(digest)
    (message,) = messages(f"digest: '{digest}'")
    assert "external" in message
    for wrong in ("ab", digest.upper(), digest + "0", "xy" * 32):
        assert len(messages(f"storage: external, digest: '{wrong}'")) == 1


def test_an_external_artifact_may_get_its_uri_at_commit() -> None:
    assert artifact("storage: external").uri == ""


@pytest.mark.parametrize("id", ["v7", "a b", "-a", "a//b", "é", "f" * 64, "a" * 101, "a/"])
def test_ids_follow_the_rules_of_branches(id: str) -> None:
    assert places(f"spec: {id}\nversion: 1\n{ONE}") == [(1, 7)]


@pytest.mark.parametrize("version", ["a b", "a@b", "a/b", "a:b", "a~1", "x" * 101, "[1]"])
def test_versions_can_stand_in_selectors(version: str) -> None:
    assert places(f"spec: a\nversion: {version}\n{ONE}") == [(2, 10)]


def test_no_more_than_a_thousand_faults_are_listed() -> None:
    found = faults(HEAD + ONE + "".join(f"k{number}: 1\n" for number in range(3000)))
    assert len(found) == 1001
    assert "not listed" in found[-1]["message"]


def test_too_many_artifacts() -> None:
    rows = "".join(f"- {{name: a{i}, type: x, format: csv}}\n" for i in range(4097))
    (fault,) = faults(f"{HEAD}artifacts:\n{rows}")
    assert "at most 4096" in fault["message"]


@pytest.mark.parametrize(
    ("before", "after", "fix"),
    [
        ("artifacts:", "policy: {}\nartifacts:", "write review"),
        ("artifacts:", "Policies: {}\nartifacts:", "write review"),
        ("artifacts:", "folder: x\nartifacts:", "write base"),
        ("type: x", "type: x, id: a", "write name"),
        ("type: x", "type: x, location: a", "write path"),
        ("type: x", "type: x, optional: true", "write required: false"),
        ("type: x", "type: x, checks: {max-bytes: 3}", "write max_size"),
        ("type: x", "type: x, checks: {nonempty: true}", "write non_empty"),
        ("artifacts:", "review: {approvers: 3}\nartifacts:", "write approvals"),
        ("artifacts:", "review: {no-self-review: true}\nartifacts:", "write not_author"),
        ("artifacts:", "review: {people-only: true}\nartifacts:", "write humans_only"),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_is_meant(
    before: str, after: str, fix: str
) -> None:
    text = "spec: a\nversion: 1\nartifacts:\n  - {name: n, format: text, type: x}\n"
    parse_spec(text.encode())
    with pytest.raises(InvalidSpec) as refused:
        parse_spec(text.replace(before, after, 1).encode())
    assert [fault["fix"] for fault in refused.value.faults if "unknown" in fault["message"]] == [
        fix
    ]
