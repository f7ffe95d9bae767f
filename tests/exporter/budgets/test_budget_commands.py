"""`spanledger budgets` as a person or a script types it: what it prints, changes and refuses, and with which status."""

import json
import time
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import insert

from spanledger_exporter import cli
from spanledger_exporter.budgets.shelf import BudgetShelf, load_budgets
from spanledger_exporter.budgets.states import read_group_counts, read_states
from spanledger_exporter.budgets.tables import bar_text, print_states
from spanledger_exporter.ledger.budget_schema import budget_alerts, budget_leases
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.budgets import DAY_NS, call, daily, declare, ledger_of, states_of

TEN_USD = 16_666_667
Run = Callable[..., "Done"]


class Done:
    """What a command printed, and its status."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def json(self) -> Any:
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture
def run(ledger_url: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `spanledger budgets` on an empty ledger of each kind."""
    open_database(ledger_url).close()

    def budgets(*arguments: str) -> Done:
        capsys.readouterr()
        status = cli.main(["budgets", "--ledger", ledger_url, *arguments])
        return Done(status, *capsys.readouterr())

    return budgets


@pytest.fixture
def spent(ledger_url: str, book: PriceBook) -> None:
    """A budget of 100 USD in a thousand days of which 90 are spent, and one by team of which one is over."""
    database = open_database(ledger_url)
    now_ns = time.time_ns()
    period = {"period": "days", "days": 1000, "since": "2026-11-01"}
    declare(
        database,
        {"name": "company", "limit_usd": 100, "mode": "hard", "description": "all of us", **period},
        {"name": "teams", "limit_usd": 50, "per": ["team"], **period},
        now_ns=now_ns,
    )
    calls = [
        *daily(book, now_ns, [TEN_USD] * 6, team="search"),
        call(book, now_ns, tokens=3 * TEN_USD, team="shop"),
        call(book, now_ns, request_model="mystery", response_model="mystery", team="shop"),
    ]
    ledger_of(database, book, calls, now_ns=now_ns)
    database.close()


# -- set, remove -------------------------------------------------------------------------------------------------------


def test_a_budget_is_made_changed_and_removed_and_all_of_it_is_recorded(run: Run) -> None:
    made = run(
        "set", "search", "--limit-usd", "250", "--scope", "team=search", "--scope", "model=gpt-*,claude-*", "--json"
    )
    assert made.json["before"] is None
    assert made.json["after"] == {
        "name": "search",
        "limit_usd": "250",
        "scope": {"model": ["gpt-*", "claude-*"], "team": ["search"]},
        "period": "month",
        "timezone": "UTC",
        "mode": "soft",
    }
    changed = run("set", "search", "--limit-usd", "300.5", "--mode", "hard")
    assert (changed.status, changed.err) == (0, "")
    assert changed.out.splitlines() == [
        "search: changed",
        "  limit_usd: 300.5, was 250",
        "  mode: hard, was soft",
    ]
    assert run("set", "search", "--mode", "hard").out == "search: nothing changed\n"
    assert run("remove", "search").out == "search: removed\n"
    assert run("--json").json == {"budgets": []}
    again = run("set", "search", "--limit-calls", "5", "--json")
    assert again.json["changed"]
    changes = run("show", "search", "--json").json["changes"]
    documents = [(change["before"] or {}).get("mode") for change in changes]
    assert documents == [None, "hard", "soft", None]
    assert all(change["by"] for change in changes)


def test_what_a_soft_budget_does_not_heed_is_said_on_stderr(run: Run) -> None:
    said = 'spanledger: b: on_unpriced = "refuse" is for mode = "hard"; a soft budget lets every call pass\n'
    for done in (
        run("set", "b", "--limit-usd", "100", "--on-unpriced", "refuse", "--dry-run", "--json"),
        run("set", "b", "--limit-usd", "100", "--on-unpriced", "refuse"),
        run("check"),
    ):
        assert (done.status, done.err) == (0, said)
    assert run("set", "b", "--mode", "hard").err == run("check", "b").err == ""


def test_every_flag_is_a_key_of_the_document(run: Run) -> None:
    done = run(
        *("set", "b", "--limit-usd", "100", "--per", "team,user", "--period", "quarter", "--day", "15", "--month", "2"),
        *("--timezone", "Europe/Berlin", "--rollover", "true", "--rollover-max-usd", "25", "--mode", "hard"),
        *("--thresholds", "50,80%,100", "--on-unpriced", "rate", "--default-rate", "5,25", "--on-unreachable", "safe"),
        *("--safe-usd", "1.5", "--description", "whose it is", "--json"),
    )
    assert done.json["after"] == {
        "name": "b",
        "description": "whose it is",
        "limit_usd": "100",
        "per": ["team", "user"],
        "period": "quarter",
        "timezone": "Europe/Berlin",
        "day": 15,
        "month": 2,
        "rollover": True,
        "rollover_max_usd": "25",
        "mode": "hard",
        "thresholds": [50, 80, 100],
        "on_unpriced": "rate",
        "default_rate": {"input_mtok": "5", "output_mtok": "25"},
        "on_unreachable": "safe",
        "safe_usd": "1.5",
    }
    # What belongs to another unit, period or choice than is said now goes with it.
    done = run(
        *("set", "b", "--limit-tokens", "1000", "--period", "week", "--weekday", "sun", "--rollover", "false"),
        *("--on-unpriced", "alert", "--on-unreachable", "open", "--json"),
    )
    assert (done.status, done.err) == (0, "")
    assert done.json["after"] == {
        "name": "b",
        "description": "whose it is",
        "limit_tokens": 1000,
        "per": ["team", "user"],
        "period": "week",
        "timezone": "Europe/Berlin",
        "weekday": "sun",
        "mode": "hard",
        "thresholds": [50, 80, 100],
    }
    anew = run(
        "set",
        "b",
        "--anew",
        "--limit-calls",
        "7",
        "--period",
        "range",
        "--since",
        "2026-01-01",
        "--until",
        "2026-02-01",
        "--json",
    )
    assert anew.json["after"] == {
        "name": "b",
        "limit_calls": 7,
        "period": "range",
        "timezone": "UTC",
        "since": "2026-01-01",
        "until": "2026-02-01",
        "mode": "soft",
    }


def test_a_scope_is_changed_by_dimension(run: Run) -> None:
    run("set", "b", "--limit-usd", "1", "--scope", "team=a,b", "--scope", "model=gpt-*")
    assert run("set", "b", "--scope", "team=c", "--scope", "team=d", "--json").json["after"]["scope"] == {
        "model": ["gpt-*"],
        "team": ["c", "d"],
    }
    assert run("set", "b", "--scope", "team=", "--json").json["after"]["scope"] == {"model": ["gpt-*"]}


def test_every_problem_is_named_at_once_and_nothing_is_changed(run: Run) -> None:
    done = run(
        *("set", "b", "--limit-usd", "-5", "--mode", "strict", "--period", "fortnight", "--timezone", "Mars/Base"),
        *("--thresholds", "many", "--scope", "planet=mars", "--default-rate", "5", "--rollover", "maybe"),
    )
    assert (done.status, done.out) == (2, "")
    for said in ("limit_usd", "strict", "fortnight", "Mars/Base", "thresholds", "planet", "default_rate", "rollover"):
        assert said in done.err
    assert run("--json").json == {"budgets": []}


def test_a_dry_run_changes_nothing(run: Run) -> None:
    done = run("set", "b", "--limit-usd", "5", "--dry-run")
    assert done.out.splitlines()[:2] == ["b: would be made", "  limit_usd: 5"]
    assert run("--json").json == {"budgets": []}


def test_a_budget_of_the_file_is_not_changed_by_command(run: Run, ledger_url: str) -> None:
    from spanledger_exporter.budgets.document import from_document

    database = open_database(ledger_url)
    BudgetShelf(database).sync([from_document({"name": "filed", "limit_usd": 1})], "budgets.toml")
    database.close()
    for arguments in (("set", "filed", "--limit-usd", "2"), ("remove", "filed")):
        done = run(*arguments)
        assert done.status == 2
        assert "budgets.file" in done.err
    assert "in the file that budgets.file names" in run("show", "filed").out


def test_what_there_is_not_is_named(run: Run) -> None:
    run("set", "there", "--limit-usd", "1")
    for arguments in (("show", "gone"), ("remove", "gone"), ("check", "gone", "there"), ("release", "gone")):
        done = run(*arguments)
        assert done.status == 2
        assert "'gone'" in done.err
        assert "there" in done.err


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    for arguments in (["budgets"], ["budgets", "set", "b", "--limit-usd", "1"], ["budgets", "check"]):
        assert cli.main([*arguments, "--ledger", url]) == 2
        assert "there is no ledger" in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


# -- budgets, show -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("spent")
def test_the_list_has_a_line_for_each_budget_and_group(run: Run) -> None:
    done = run()
    assert (done.status, done.err) == (0, "")
    heads, *lines = done.out.splitlines()
    assert heads.split()[:4] == ["budget", "spent", "limit", "used"]
    company, search, shop, *remarks = lines
    assert company.startswith("company")
    assert "90.00" in company
    assert "100.00 USD" in company
    assert "██████████████████░░   90 %" in company
    assert company.endswith("hard")
    assert "teams (team=search)" in search
    assert "it has" in search
    assert "120 %" in search
    assert "teams (team=shop)" in shop
    assert "60 %" in shop
    assert "company: 1 call of unknown price, not in it" in remarks


@pytest.mark.usefixtures("spent")
def test_json_has_exact_figures(run: Run) -> None:
    company, teams = run("--json").json["budgets"]
    assert company["budget"]["limit_usd"] == "100"
    assert company["groups"] is None
    (state,) = company["states"]
    assert state["spent_usd"] == "90.000001"
    assert state["cost_usd"] == "90.0000018"
    assert state["remaining_usd"] == "9.999999"
    assert (state["calls"], state["unpriced_calls"], state["reached"]) == (8, 1, [75, 90])
    assert state["daily_average_usd"] == "10"
    assert state["forecast"]["method"] == "days"
    assert state["run_out"] is not None
    assert state["calls_left"]["calls"] == 7
    assert teams["groups"] == {"0": 2, "75": 1, "90": 1, "100": 1}
    assert [each["group"] for each in teams["states"]] == [{"team": "search"}, {"team": "shop"}]
    (first,) = run("--groups", "1", "--json").json["budgets"][1]["states"]
    assert first["group"] == {"team": "search"}


@pytest.mark.usefixtures("spent")
def test_of_many_groups_it_says_how_many_there_are(run: Run) -> None:
    assert "teams: 2 groups in all, 1 at 75 %, 1 at 90 %, 1 at 100 %" in run("--groups", "1").out


def test_without_budgets_it_says_how_to_make_one(run: Run) -> None:
    assert "spanledger budgets set" in run().out
    run("set", "users", "--limit-usd", "1", "--per", "user")
    assert "users (per user)" in run().out
    assert "no calls yet" in run().out


def lease(budget_id: int, start_s: int, **changes: Any) -> dict[str, Any]:
    return {
        "lease_id": "lease", "budget_id": budget_id, "group_key": "", "period_start_s": start_s, "owner": "shop-1",
        "state": "open", "granted": 5_000_000, "settled": 1_000_000, "settled_calls": 3, "reported": 2_000_000,
        "reported_calls": 4, "sequence": 1, "granted_ns": time.time_ns() - DAY_NS,
        "expires_ns": time.time_ns() - DAY_NS, **changes,
    }  # fmt: skip


@pytest.fixture
def leased(spent: None, ledger_url: str) -> None:
    database = open_database(ledger_url)
    (state,) = [each for each in states_of(database, time.time_ns()) if each.stored.budget.name == "company"]
    number, start_s = state.stored.budget_id, state.bounds.start_s
    with database.write() as connection:
        connection.execute(insert(budget_leases), [lease(number, start_s)])
        connection.exec_driver_sql(f"UPDATE budget_counters SET leased = 4000000 WHERE budget_id = {number}")
    database.close()


@pytest.mark.usefixtures("leased")
def test_show_says_everything_about_a_budget(run: Run) -> None:
    done = run("show", "company")
    assert (done.status, done.err) == (0, "")
    for said in (
        "company all of us",
        "limit_usd      100",
        "spent          90.00 USD, 90 %, 8 calls",
        "leased         4.00 USD, of which 4.00 for processes that are gone",
        "remaining      5.99 USD",
        "daily average  10.00 USD",
        "low confidence, by 7 calls",
        "1 call of unknown price, not in it",
        "leases that hold something",
        "shop-1",
        "no alerts",
        "test: made",
    ):
        assert said in done.out
    document = run("show", "company", "--json").json
    (held,) = document["leases"]
    assert (held["granted_usd"], held["settled_usd"], held["state"]) == ("5", "1", "open")
    assert document["states"][0]["unaccounted_usd"] == "4"


@pytest.mark.usefixtures("leased")
def test_what_is_held_for_nobody_is_released_and_recorded(run: Run) -> None:
    assert "`spanledger budgets release company`" in run().out
    done = run("release", "company", "--json")
    assert done.json == {"budget": "company", "leases": 1, "released_usd": "4"}
    state = run("show", "company", "--json").json
    assert (state["states"][0]["leased_usd"], state["states"][0]["unaccounted_usd"], state["leases"]) == ("0", "0", [])
    assert len(state["changes"]) == 2
    assert run("release", "company").out == "company: 0 USD of 0 leases released\n"
    assert "unaccounted" in run("show", "company").out


# -- check -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("spent")
def test_check_fails_with_3_where_a_budget_or_a_group_is_over(run: Run) -> None:
    within = run("check", "company")
    assert (within.status, within.out) == (0, "ok   company: 90 % of 100.00 USD spent; 1 call of unknown price\n")
    at = run("check", "company", "--at", "90")
    assert at.status == 3
    assert at.out.startswith("OVER company: 90 % of 100.00 USD spent")
    everything = run("check")
    assert everything.status == 3
    assert everything.out.splitlines()[1:] == [
        "OVER teams: 1 group at 100 % or more",
        "     OVER teams (team=search): 120 % of 50.00 USD spent",
    ]
    assert run("check", "teams", "--at", "121").status == 0
    document = run("check", "--json").json
    assert document["over"]
    assert [each["groups_over"] for each in document["budgets"]] == [None, 1]
    assert run("check", "company", "--json").json["over"] is False


@pytest.mark.usefixtures("spent")
def test_check_can_look_ahead(run: Run) -> None:
    done = run("check", "company", "--forecast")
    assert done.status == 3
    assert "USD projected" in done.out
    assert "messages" not in run("check", "company", "--forecast", "--json").json


def test_the_pace_of_the_first_minutes_stops_nobody(run: Run, ledger_url: str, book: PriceBook) -> None:
    now_ns = time.time_ns()
    database = open_database(ledger_url)
    declare(database, {"name": "year", "limit_calls": 100, "period": "year"}, now_ns=now_ns)
    ledger_of(database, book, [call(book, now_ns)] * 1, now_ns=now_ns)
    database.close()
    done = run("check", "--forecast")
    assert (done.status, done.out) == (0, "ok   year: 1 % of 100 calls spent\n")
    assert "too early" in run().out
    lines = run("show", "year").out.splitlines()
    unknown = [line[:15].strip() for line in lines if line.endswith("unknown: too early")]
    assert unknown == ["daily average", "projected", "runs out"]
    assert run("show", "year", "--json").json["states"][0]["forecast"] is None


def test_check_finds_groups_beyond_those_that_it_lists(run: Run, ledger_url: str, book: PriceBook) -> None:
    database = open_database(ledger_url)
    now_ns = time.time_ns()
    declare(database, {"name": "users", "limit_calls": 1, "per": ["user"], "period": "year"}, now_ns=now_ns)
    calls = [call(book, now_ns, tokens=1, user_id=f"u{number}") for number in range(30)]
    ledger_of(database, book, calls, now_ns=now_ns)
    database.close()
    done = run("check")
    assert done.status == 3
    assert done.out.splitlines()[0] == "OVER users: 30 groups at 100 % or more"
    assert len(done.out.splitlines()) == 21


@pytest.mark.usefixtures("spent")
def test_a_dry_run_says_which_messages_there_would_be(run: Run, ledger_url: str) -> None:
    done = run("check", "--dry-run")
    assert done.out.splitlines()[3:] == [
        "would be sent: company has reached 90 % of 100.00 USD",
        "would be sent: teams (team=search) has reached 100 % of 50.00 USD",
    ]
    database = open_database(ledger_url)
    with database.write() as connection:
        for state in states_of(database, time.time_ns()):
            row = {column.name: 0 for column in budget_alerts.columns} | {
                "alert_id": state.stored.budget_id, "budget_id": state.stored.budget_id,
                "budget_name": state.stored.budget.name, "group_key": state.group_key,
                "period_start_s": state.bounds.start_s, "threshold": 90,
                "limit_text": f"{100 if state.stored.budget.name == 'company' else 50} usd", "state": "delivered",
                "message": "{}", "problem": None, "made_ns": time.time_ns(), "delivered_ns": time.time_ns(),
            }  # fmt: skip
            if state.group_key in {"", '["search"]'}:
                texts = {name: "" for name in row if str(budget_alerts.c[name].type) == "TEXT" and row[name] == 0}
                connection.execute(insert(budget_alerts), [row | texts])
    database.close()
    messages = run("check", "--dry-run", "--json").json["messages"]
    assert [(each["budget"], each["threshold"], each["answer"]) for each in messages] == [
        ("company", 90, "told"),
        ("teams", 100, "due"),
    ]
    assert "was sent before: company" in run("check", "--dry-run").out
    run("set", "company", "--limit-usd", "99")  # which is due again, but not within a day
    assert "too recent: company has reached 90 % of 99.00 USD" in run("check", "--dry-run").out
    assert "delivered" in run("show", "company").out


def test_without_budgets_nothing_is_over(run: Run) -> None:
    done = run("check", "--dry-run")
    assert (done.status, done.out) == (0, "no budgets\nno message would be sent\n")


def test_a_range_that_is_over_is_not_over_its_limit(run: Run, ledger_url: str, book: PriceBook) -> None:
    now_ns = time.time_ns()
    database = open_database(ledger_url)
    document = {"name": "past", "limit_calls": 1, "period": "range", "since": "2026-01-01", "until": "2026-02-01"}
    declare(database, document, now_ns=now_ns)
    in_january_ns = 1_768_000_000 * 10**9
    ledger_of(database, book, [call(book, in_january_ns)] * 1, now_ns=now_ns)
    database.close()
    done = run("check")
    assert (done.status, done.out) == (0, "ok   past: 100 % of 1 calls spent\n")
    assert "over" in run().out


@pytest.mark.parametrize(
    "arguments", [["check", "--at", "0"], ["check", "--at", "x"], ["--groups", "0"], ["--groups", "x"]]
)
def test_numbers_that_make_no_sense_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(["budgets", *arguments])
    assert refused.value.code == 2
    assert "write" in capsys.readouterr().err


# -- terminals ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("spent")
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 160])
def test_a_narrow_terminal_has_fewer_columns_and_whole_figures(ledger_url: str, width: int) -> None:
    page = printed(ledger_url, width=width, color_system=None)
    lines = page.splitlines()
    assert max(map(len, lines)) <= width
    assert "90.00" in page
    assert "100.00 USD" in page
    assert "90 %" in page
    assert ("█" in page) == (width >= 72)
    assert ("projected" in page) == (width >= 100)


@pytest.mark.usefixtures("spent")
def test_a_terminal_with_colours_shows_what_is_over_in_red(ledger_url: str) -> None:
    page = printed(ledger_url, width=160, color_system="standard")
    assert "\x1b[33m" in page  # yellow, past a threshold
    assert "\x1b[1;31m" in page  # red, over
    assert "\x1b[32m" not in page.replace("\x1b[32m", "", 1)  # green, the one that is neither


def printed(ledger_url: str, *, width: int, color_system: Any) -> str:
    out = StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=color_system, highlight=False)
    database = open_database(ledger_url)
    with database.read() as connection:
        stored = load_budgets(connection)
        now_ns = time.time_ns()
        counts = read_group_counts(connection, stored, now_ns)
        print_states(console, stored, read_states(connection, stored, now_ns), counts)
    database.close()
    return out.getvalue()


@pytest.mark.parametrize(
    ("ratio", "ascii_only", "bar"),
    [
        (0, False, "░░░░░"),
        (0.001, False, "▏░░░░"),
        (0.5, False, "██░░░"),
        (0.9999, False, "████░"),
        (1, False, "█████"),
        (float("inf"), False, "█████"),
        (0.5, True, "##---"),
        (0.001, True, ".----"),
    ],
)
def test_a_bar_is_full_at_the_limit_and_not_before(ratio: float, ascii_only: bool, bar: str) -> None:
    assert bar_text(ratio, 5, ascii_only=ascii_only) == bar


def test_names_that_were_made_up_do_nothing_to_a_terminal(run: Run, ledger_url: str, book: PriceBook) -> None:
    now_ns = time.time_ns()
    database = open_database(ledger_url)
    declare(database, {"name": "users", "limit_usd": 1, "per": ["user"], "period": "year"}, now_ns=now_ns)
    ledger_of(database, book, [call(book, now_ns, user_id="\x1b[2Jann\n[bold]")], now_ns=now_ns)
    database.close()
    for done in (run(), run("show", "users"), run("check", "--at", "50")):
        assert "\x1b" not in done.out
        assert "ann" in done.out
        assert "[bold]" in done.out
