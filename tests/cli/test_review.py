"""The commands of review: verdicts, marks, deployments, the inbox, and what shows them."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Cas, write
from tests.cli.test_process import on_terminal


@pytest.fixture
def out(cas: Cas) -> str:
    """A store with two versions of `out` by alice@example.org; the id of the second."""
    cas("init")
    made = None
    for text in ("one\n", "two\n"):
        write("out/a.txt", text)
        made = cas("commit", "-m", text.strip(), "out", "--json").json
    assert made is not None
    return str(made["id"])


def test_a_review_from_the_request_to_the_approval(cas: Cas, out: str) -> None:
    assert cas("review").err == "nothing waits for a review\n"
    asked = cas("request-review", "out", "-m", "please", "--agent", "writer@7")
    assert asked.out.splitlines()[0] == f"asked for a review of out@v2 {out}"
    waits = cas("review")
    assert waits.out.splitlines()[0] == f"out@v2  {out[:12]}  requested"
    assert "0 of 1 approvals" in waits.out
    assert "alice@example.org (agent writer@7)  please" in waits.out
    assert "nothing approved before:" in waits.out
    assert waits.err == "next: cas approve out@v2\n"
    done = cas("approve", "out@v2", "-m", "checked", "--author", "ben@example.org")
    assert done.out.splitlines()[0] == f"approved out@v2 {out}"
    assert done.err == "next: cas show out@v2\n"
    assert cas("review").out == ""
    assert "approved)" in cas("log", "--oneline", "-n", "1").out
    assert cas("show", "out@approved", "--json").json["id"] == out


def test_approving_says_what_is_still_wanting(cas: Cas) -> None:
    cas("init")
    write("a.txt", "x")
    write(
        "r.spec.yaml",
        'spec: r\nversion: "1"\nreview: {approvals: 2}\nartifacts:\n'
        "- {name: a, type: document, format: text, path: a.txt}\n",
    )
    cas("commit")
    first = cas("approve", "r")
    assert first.err.splitlines()[0] == "not approved yet: 1 of 2 approvals"
    record = cas("approve", "r", "--author", "ben@example.org", "--json").json
    assert (record["approved"], record["wanting"]) == (True, [])
    assert record["note"]["by"] == "ben@example.org"
    assert record["note"]["trust"] == "claimed"


def test_an_approval_that_does_not_count_is_not_called_one(cas: Cas) -> None:
    cas("init")
    write("a.txt", "x")
    write(
        "r.spec.yaml",
        'spec: r\nversion: "1"\nreview: {not_author: true}\nartifacts:\n'
        "- {name: a, type: document, format: text, path: a.txt}\n",
    )
    cas("commit")
    shut = cas("gate", "r", code=6)
    assert "cas approve r@v1, by another than alice@example.org" in shut.err
    mine = cas("approve", "r")
    assert mine.out.startswith("noted, but it does not count: approval of r@v1 ")
    assert "the author may not approve" in mine.err
    assert cas("approve", "r", "--author", "ben@example.org").out.startswith("approved r@v1 ")
    assert "remove it; known are review require" in (
        cas("gate", "r", "--policy", "r.spec.yaml", code=2).err
    )


def test_a_long_author_leaves_room_for_the_message(cas: Cas) -> None:
    cas("init")
    write("a.txt", "x")
    cas("commit", "a.txt", "-m", "why it was", "--author", "Somebody <somebody@dept.example.org>")
    line = cas("op", "log").out.splitlines()[0]
    assert len(line) <= 80
    assert line.endswith("…  why it was")


def test_agents_are_refused(cas: Cas, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = cas("approve", "out", "--agent", "writer@7", "--json", code=6)
    assert refused.error["error"] == "NotApproved"
    assert refused.error["fix"] == f"cas request-review {out}"
    monkeypatch.setenv("CAS_AGENT", "writer@7")
    assert "an agent may not reject" in cas("reject", "out", code=6).err
    cas("comment", "out", "-m", "done")
    cas("request-review", "out")
    monkeypatch.delenv("CAS_AGENT")
    write(".cas/config.toml", '[identity."bot"]\nkind = "agent"\n')
    assert "bot is an agent" in cas("approve", "out", "--author", "Bot", code=6).err
    assert cas("show", "out", "--json").json["review"] == "requested"


def test_a_request_that_waits_for_nothing_says_so(cas: Cas, out: str) -> None:
    cas("approve", "out", "--author", "ben@example.org")
    done = cas("request-review", "out", "--agent", "writer@7")
    assert done.err.splitlines()[0] == "it is approved: nothing waits for a verdict"
    assert "by alice@example.org (agent writer@7); review approved" in done.out
    assert cas("review").out == ""


def test_who_approved_is_not_cut_off_on_a_terminal(cas: Cas, out: str) -> None:
    cas("approve", "out", "-m", "word " * 20 + "end", "--author", "the-reviewer@example.org")
    cas("deploy", "out", "--to", "prod", "--author", "somebody-of-operations@example.org")
    for words in (("deploy",), ("show", "out"), ("blame", "out")):
        code, shown = on_terminal(*words, env={"COLUMNS": "80", "NO_COLOR": "1"})
        assert code == 0
        assert max(map(len, shown.splitlines())) <= 80
        assert "…" not in shown
        joined = "".join(shown.split())
        assert "the-reviewer@example.org" in joined or words[0] == "blame"
        assert "wordend" in joined or words[0] != "show"


def test_short_ids_and_moved_branches_are_refused(cas: Cas, out: str) -> None:
    refused = cas("approve", out[:12], code=2)
    assert refused.err.splitlines()[-1] == f"try:   cas approve {out}"
    assert cas("reject", out[:12], code=2).err.splitlines()[-1] == f"try:   cas reject {out}"
    cas("approve", "out@v1", "--expect", out, code=4)
    cas("approve", "out", "--expect", out[:12], code=2)
    cas("approve", "out", "--expect", out)
    cas("approve", code=2)


def test_contested_and_settled(cas: Cas, out: str) -> None:
    cas("approve", "out")
    note = cas("reject", "out", "--author", "ben@example.org", "--json").json["note"]["id"]
    assert cas("log", "--review", "contested", "--json").json["id"] == out
    assert "contested" in cas("review", "out").out
    shown = cas("show", "out").out
    assert "2 notes" in shown
    assert f"  {note[:12]}  " in shown
    assert "review contested, draft" in shown
    cas("dismiss", note[:12], "-m", "answered")
    rows = cas("show", "out", "--json").json["notes"]
    assert [(row["value"], row["stands"]) for row in rows] == [
        (None, True),
        ("rejected", False),
        ("approved", True),
    ]
    assert "rejected (replaced)" in cas("show", "out").out
    cas("revoke", "out", "-m", "after all")
    assert cas("show", "out", "--json").json["review"] == "none"
    cas("revoke", "out", code=2)


def test_marks(cas: Cas, out: str) -> None:
    assert cas("mark", "out@v1", "published").out.startswith("marked as published out@v1 ")
    cas("mark", "out", "withdrawn", "-m", "wrong source")
    assert cas("show", "out@published", "--json").json["number"] == 1
    assert [row["id"] for row in cas("log", "--lifecycle", "withdrawn", "--json").rows] == [out]
    assert cas("show", "out:a.txt", "--json").json["record"]["status"] == "deleted"
    cas("mark", "out", "gone", code=2)
    assert "draft" in cas("log", "--lifecycle", "gone", code=2).err


def test_deployments(cas: Cas, out: str) -> None:
    assert cas("deploy").err == "nothing is deployed\n"
    cas("deploy", "out@v1", "--to", "production", "-m", "first")
    cas("deploy", "out", "--to", "production")
    (row,) = cas("deploy", "--json").rows
    assert (row["environment"], row["version"]) == ("production", out)
    assert "on production" in cas("log", "--oneline", "-n", "1").out
    assert "deployed to production" in cas("show", "out").out
    assert cas("show", "out", "--json").json["deployments"] == ["production"]
    assert cas("deploy").out.startswith(f"production  out@v2  {out[:12]}")
    cas("deploy", "out@v1", "--to", "production", "--remove", code=3)
    assert cas("deploy", "out", "--to", "production", "--remove").out.startswith("removed from")
    assert cas("deploy").out == ""
    cas("deploy", "out", code=2)
    cas("deploy", "--to", "production", code=2)


def test_the_log_of_operations_tells_of_notes(cas: Cas, out: str) -> None:
    cas("approve", "out", "-m", "fine")
    told = cas("op", "log", "-n", "1").out.splitlines()
    assert told[0].endswith("approve  alice@example.org  fine")
    assert told[1].strip() == f"about {out[:12]}"
    refused = cas("op", "undo", "3", code=2)
    assert refused.err.splitlines()[-1] == f"try:   cas revoke {out}"


def test_the_inbox_shows_the_changes_since_the_last_approved(cas: Cas, out: str) -> None:
    cas("approve", "out@v1")
    cas("request-review", "out")
    told = cas("review").out
    assert "  against out@v1:" in told
    assert "    ~ a.txt" in told
    (row,) = cas("review", "--json").rows
    assert (row["id"], row["review"], row["wanting"]) == (out, "requested", ["0 of 1 approvals"])
    assert row["changes"]["artifacts"][0]["name"] == "a.txt"
    assert cas("review", "out@v1").out == ""


@pytest.mark.usefixtures("out")
def test_what_others_wrote_reaches_the_terminal_cleaned(cas: Cas) -> None:
    cas("reject", "out", "-m", "\x1b[31mred\nbelow", "--author", "\x1b]0;x\x07ben")
    cas("approve", "out")
    for told in (cas("show", "out").out, cas("review").out, cas("op", "log").out):
        assert "\x1b" not in told
        assert "below" not in told


@pytest.fixture
def half(cas: Cas) -> str:
    """A version of `r` with one of the two approvals that its spec asks for; its id."""
    cas("init")
    write("a.txt", "x")
    write(
        "r.spec.yaml",
        'spec: r\nversion: "1"\nreview: {approvals: 2}\nartifacts:\n'
        "- {name: a, type: document, format: text, path: a.txt}\n",
    )
    made = cas("commit", "--json").json
    cas("approve", "r", "--author", "ann@example.org")
    return str(made["id"])


def test_what_waits_has_short_ids_and_no_spec_that_there_is_not(cas: Cas, half: str) -> None:
    assert max(map(len, cas("review").out.splitlines())) < 80
    assert "spec id: none → r" in cas("review").out
    contract = cas("show", "r", "--json").json["spec"]["contract"]
    assert f"spec contract: none → {contract[:12]}\n" in cas("review").out
    write("b.txt", "x")
    cas("commit", "--name", "plain", "b.txt")
    assert "spec" not in cas("diff", "plain").out
    assert cas("diff", "plain", "--json").json["spec"] == []


def test_approved_is_told_by_the_policy(cas: Cas, half: str) -> None:
    def told() -> list[str]:
        commands = (
            ("log",), ("log", "--oneline"), ("show",), ("review",),
            ("audit", "--columns", "label,review"), ("log", "--json"), ("show", "--json"),
        )  # fmt: skip
        return [cas(*command).out for command in commands]

    for text in told()[:4]:
        assert "1 of 2 approvals" in text
        assert "(approved)" not in text
        assert "review approved" not in text
    assert "pending" in told()[4]
    for text in told()[4:]:
        assert '"review": "approved"' not in text
    (row,) = cas("log", "--review", "pending", "--json").rows
    assert (row["review"], row["approvals"]) == ("pending", {"counted": 1, "needed": 2})
    assert cas("log", "--review", "approved", "--json").rows == []
    said = cas("comment", "r", "-m", "hm", "--json").json
    assert (said["review"], said["approvals"]) == ("pending", {"counted": 1, "needed": 2})
    cas("approve", "r", "--author", "ben@example.org")
    assert "(approved)" in cas("log").out
    assert "review approved by 2" in cas("show").out
    assert cas("log", "--review", "approved", "--json").rows[0]["id"] == half


def test_who_approved_what_is_deployed(cas: Cas, half: str) -> None:
    warned = cas("deploy", "r", "--to", "prod", "--author", "eva@example.org")
    assert "warning: r@v1 is not approved: 1 of 2 approvals" in warned.err
    record = cas("deploy", "r", "--to", "test", "--author", "eva@example.org", "--json").json
    assert record["warnings"] == ["r@v1 is not approved: 1 of 2 approvals"]
    line = cas("deploy").out.splitlines()[0]
    assert line.startswith(f"prod  r@v1  {half[:12]}  ")
    assert "eva@example.org  not approved: 1 of 2 approvals; approved by ann@example.org" in line
    cas("approve", "r", "--author", "ben@example.org")
    assert "approved by ann@example.org, ben@example.org" in cas("deploy").out
    row = cas("deploy", "--json").rows[0]
    assert (row["approved"], row["approvers"]) == (True, ["ann@example.org", "ben@example.org"])
    cas("mark", "r", "withdrawn")
    assert "withdrawn" in cas("deploy").out
    assert "r@v1 is withdrawn" in cas("deploy", "r", "--to", "prod").err
    assert "is withdrawn: no gate lets it pass" in cas("approve", "r").err


def test_the_audit_of_what_is_deployed(cas: Cas, out: str) -> None:
    assert "no versions match" in cas("audit", "--deployed").err
    cas("deploy", "out@v1", "--to", "test")
    cas("deploy", "out@v2", "--to", "prod")
    assert [row["number"] for row in cas("audit", "--deployed", "--json").rows] == [2, 1]
    (row,) = cas("audit", "--deployed", "prod", "--json").rows
    assert (row["id"], row["deployments"]) == (out, ["prod"])
    assert cas("audit", "--deployed", "live", "--json").rows == []


def test_what_is_gone_is_told(cas: Cas, out: str) -> None:
    cas("forget", "out@v1", "-m", "old")
    refused = cas("deploy", "out@v1", "--to", "prod", code=3)
    assert "out@v1" in refused.err
    assert "was forgotten on" in refused.err
    warned = cas("commit", "--name", "made", "--source", "out@v1", "out").err
    assert "source out@v1 was forgotten on" in warned
    cas("purge", "out:a.txt", "--reason", "asked to", "--include", "all", "--yes")
    assert (
        "cannot be deployed: artifact 'a.txt' was purged"
        in cas("deploy", "out", "--to", "prod", code=3).err
    )
    assert cas("ls", "out").out.rstrip().endswith("purged")
    assert "purged" in cas("show", "out").out
    assert cas("show", "out:a.txt", "--json").json["storage"] == "purged"
    again = cas("purge", "out:a.txt", "--reason", "again")
    assert again.out.startswith("purged already, on ")
    assert "by alice@example.org" in again.out
    assert "asked to" in again.out
    said = cas("purge", "out:a.txt", "--reason", "again", "--json").json
    assert said["already"]["by"] == "alice@example.org"
