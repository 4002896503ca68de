"""The policy read at a glance is the one the parser finds, in every spec that it accepts."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from castore.errors import InvalidSpec
from castore.spec.declaration import ReviewPolicy
from castore.spec.glance import review_at_a_glance
from castore.spec.parse import parse_spec
from tests.spec.samples import HEAD, ONE
from tests.spec.test_parse import EXAMPLE

REVIEW = "review: {approvals: 2, not_author: true}"
LINES = (
    "spec: report", " spec: report", 'version: "1"', "version: 1", "store: .cas", "base: .",
    "artifacts:", "artifacts: [", "artifacts: [{name: a, type: x, format: csv}]", "]",
    "- {name: a, type: x, format: csv}", "  - name: a", "    type: x", "    format: csv",
    "- name: b", "  type: x", "  format: text", "    title: 'it", "    title: review",
    "description: |", "description: >-", "description: 'a", 'description: "a', "description: a",
    "description:", "  b'", '  b"', "b'", '"', "'", "}", "]", "  review: {approvals: 7}", "# it's",
    "  # {", "", "    title: a # it's", "    title: a#'b",
    "    checks: {max_size: 5MB, min_size: 1}", REVIEW, "review:", "review: # who", "review: {}",
    "review:\t{approvals: 3}", "review : {signed: true}",
    "'review': {approvals: 4}", '"review": {approvals: 5}', "? review", ": {approvals: 6}",
    "review: {approvals: 2, reviewers: [a@x.org, b]}", "review: {reviewers: [null]}",
    "review: {reviewers: [1, true], signed: TRUE}", "review: {approvals: 8,", "  signed: true}",
    "  approvals: 2", "  approvals: 12 # two", "  not_author: true", "  reviewers: [a, b]",
    "  reviewers:", "    - a", "  - c", "   signed: true", "  forbid_dismiss: false", "---", "...",
    "%YAML 1.1", "<<: {approvals: 3}", "\ufeff", "a\u2028review: {approvals: 9}", "    title: {",
)  # fmt: skip


def parsed(text: str) -> ReviewPolicy | None:
    """What the parser finds, None in what is no spec."""
    try:
        return parse_spec(text.encode()).review
    except InvalidSpec:
        return None


@given(st.lists(st.sampled_from(LINES), max_size=6))
@example(["artifacts: [{name: a, type: x, format: csv},", REVIEW, "]"])
def test_it_never_differs_from_the_parser(lines: list[str]) -> None:
    text = "\n".join(lines)
    for whole in (text, f"{HEAD}{ONE}{text}", f"{HEAD}{text}\n{ONE}", f"{text}\n{HEAD}{ONE}"):
        seen, found = review_at_a_glance(whole.encode()), parsed(whole)
        assert seen is None or found is None or seen == found, whole


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE,
        HEAD + ONE,
        f"{HEAD}{ONE}{REVIEW}\n",
        f"{HEAD}{ONE}review:\n  approvals: 3 # three\n\n  reviewers: [a@x.org, b@x.org]\n",
        f"# it's a spec\n{REVIEW}\n{HEAD}description: |\n  it: {{}}\n{ONE}",
    ],
)
def test_the_forms_that_people_write_are_read(text: str) -> None:
    seen = review_at_a_glance(text.encode())
    assert seen is not None
    assert seen == parse_spec(text.encode()).review


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}{ONE}description: 'a\n{REVIEW}'\n",
        f'{HEAD}{ONE}description: "a\n{REVIEW}"\n',
        f"{HEAD}{ONE}review: {{approvals: 2,\n  signed: true}}\n",
        f"{HEAD}{ONE}'review': {{approvals: 2}}\n",
        f"{HEAD}{ONE}? review\n: {{approvals: 2}}\n",
        f"{HEAD}{ONE}review: {{approvals: 2, signed: TRUE}}\n",
        "\n".join(" " + line for line in f"{HEAD}{ONE}{REVIEW}".split("\n")),
        f"{HEAD}{ONE}".replace("\n", "\r") + f"{REVIEW}\r",
    ],
)
def test_of_any_other_form_nothing_is_said(text: str) -> None:
    assert parsed(text) is not None
    assert review_at_a_glance(text.encode()) is None
