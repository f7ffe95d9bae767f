"""What Prometheus sees of budgets: figures from memory, bounded series, counters that never fall."""

from collections.abc import Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from spanledger_exporter.budgets.evaluator import Evaluator
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.leases.messages import Decided
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.metrics.budget_metrics import BudgetMetrics, EnforcementMetrics, shown_states
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.budgets import HOUR_NS, call, daily, declare, ledger_of, states_of

NOW_NS = int(datetime(2026, 11, 18, 12, tzinfo=UTC).timestamp()) * 10**9
TEN_USD = 16_666_667


class Shown:
    """The metrics of one exporter on a ledger."""

    def __init__(
        self, database: Database, now_ns: int = NOW_NS, *, marks: Mapping[tuple[str, tuple[str, ...]], int], hold_s: int
    ) -> None:
        self.registry = CollectorRegistry()
        self.now_ns, self.clock_s = now_ns, 100
        self.held: dict[tuple[str, tuple[str, ...]], int] = {}
        self.evaluator = Evaluator(database, interval_s=15, clock_ns=lambda: self.now_ns)
        self.metrics = BudgetMetrics(
            self.registry,
            lambda: self.evaluator.evaluation,
            lambda: self.evaluator.failures,
            marks=marks,
            hold=self.held.update,
            hold_s=hold_s,
            clock_s=lambda: self.clock_s,
        )
        self.evaluator.listen(self.metrics.on_states)

    def look(self) -> None:
        assert self.evaluator.run_once()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def of(self, name: str, budget: str = "company", group: str = "", **labels: str) -> float | None:
        return self.value(f"genai_budget_{name}", budget=budget, group=group, **labels)


def shown(
    database: Database,
    now_ns: int = NOW_NS,
    *,
    marks: Mapping[tuple[str, tuple[str, ...]], int] | None = None,
    hold_s: int = 0,
) -> Shown:
    return Shown(database, now_ns, marks=marks or {}, hold_s=hold_s)


def test_before_the_first_evaluation_there_is_no_state(database: Database) -> None:
    exporter = shown(database)
    assert exporter.of("used_ratio") is None
    assert exporter.value("spanledger_budget_last_evaluation_timestamp_seconds") == 0
    assert exporter.value("spanledger_budget_evaluation_failures_total") == 0


def test_a_budgets_state_is_shown_in_its_unit(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "company", "limit_usd": 145, "mode": "hard"},
        {"name": "tokens", "limit_tokens": 400 * 10**6},
        now_ns=NOW_NS,
    )
    unknown = call(book, NOW_NS - HOUR_NS, tokens=1, request_model="mystery", response_model="mystery")
    ledger_of(database, book, [*daily(book, NOW_NS, [TEN_USD] * 12), unknown], now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.of("limit_usd") == 145
    assert exporter.of("spent_usd") == 120.000002
    assert exporter.of("leased_usd") == 0
    assert exporter.of("remaining_usd") == 24.999998
    assert exporter.of("used_ratio") == 120_000_002 / 145_000_000
    assert exporter.of("spend_usd_total") == 120.000002
    assert exporter.of("unpriced_calls") == 1
    assert exporter.of("unaccounted_ratio") == 0
    assert exporter.of("anomaly_score") == 0
    assert exporter.of("period_start_timestamp_seconds") == 1793491200
    assert exporter.of("period_end_timestamp_seconds") == 1796083200
    run_out = exporter.of("run_out_timestamp_seconds")
    assert run_out is not None
    assert abs(run_out - NOW_NS / 1e9 - 2.5 * 86_400) < 1
    forecast = [exporter.of("forecast_ratio", quantile=quantile) for quantile in ("0.1", "0.5", "0.9")]
    assert forecast == [245_000_002 / 145_000_000] * 3
    assert exporter.of("spent_tokens") is None
    assert exporter.of("spent_tokens", "tokens") == 12 * TEN_USD + 1
    assert exporter.of("spend_tokens_total", "tokens") == 12 * TEN_USD + 1
    assert exporter.value("genai_budget_mode_info", budget="company", mode="hard") == 1
    assert exporter.value("spanledger_budget_last_evaluation_timestamp_seconds") == NOW_NS / 1e9


def test_what_will_not_happen_or_is_not_known_has_no_series(database: Database, book: PriceBook) -> None:
    declare(
        database, {"name": "company", "limit_usd": 1000}, {"name": "idle", "limit_usd": 10, "scope": {"team": ["x"]}}
    )
    ledger_of(database, book, daily(book, NOW_NS, [1000] * 3), now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.of("run_out_timestamp_seconds") is None
    assert exporter.of("anomaly_score") is None
    assert exporter.of("forecast_ratio", quantile="0.5") is not None
    assert exporter.of("forecast_ratio", "idle", quantile="0.5") is None
    assert exporter.of("used_ratio", "idle") == 0


def test_the_pace_of_the_first_minutes_has_no_series(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 11})
    ledger_of(database, book, [call(book, NOW_NS - 60 * 10**9, tokens=TEN_USD)], now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.of("forecast_ratio", quantile="0.5") is None
    assert exporter.of("run_out_timestamp_seconds") is None


def test_a_range_that_is_over_has_no_series(database: Database) -> None:
    declare(
        database, {"name": "company", "limit_usd": 1, "period": "range", "since": "2020-01-01", "until": "2020-02-01"}
    )
    exporter = shown(database)
    exporter.look()
    assert exporter.of("used_ratio") is None
    assert exporter.value("spanledger_budget_unshown_states") == 0


def test_groups_of_a_range_that_is_over_are_counted_no_more(database: Database, book: PriceBook) -> None:
    over = {"name": "over", "limit_usd": 1, "per": ["team"], "period": "range", "since": "2026-11-10"}
    declare(database, {**over, "until": "2026-11-18"}, {**over, "name": "running", "until": "2026-11-20"})
    ledger_of(database, book, [call(book, NOW_NS - 24 * HOUR_NS, tokens=TEN_USD, team="shop")], now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.value("genai_budget_groups", budget="over", at_least="100") is None
    assert exporter.value("genai_budget_groups", budget="running", at_least="100") == 1


def test_groups_are_labels_and_private_ones_never_are(database: Database, book: PriceBook) -> None:
    declare(
        database,
        {"name": "teams", "limit_usd": 10, "per": ["team"]},
        {"name": "users", "limit_usd": 10, "per": ["team", "user"]},
        now_ns=NOW_NS,
    )
    calls = [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="search", user_id=user) for user in ("ann", "bob")]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.of("used_ratio", "teams", "team=search") == 2
    page = generate_latest(exporter.registry).decode()
    assert "ann" not in page
    assert "bob" not in page
    assert exporter.value("genai_budget_groups", budget="users", at_least="100") == 2
    assert exporter.value("genai_budget_groups", budget="users", at_least="0") == 2
    assert exporter.value("genai_budget_groups", budget="teams", at_least="75") == 1
    assert exporter.value("spanledger_budget_unshown_states") == 2


def test_of_many_groups_the_most_used_are_shown(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "teams", "limit_usd": 10, "per": ["team"]}, now_ns=NOW_NS)
    calls = [call(book, NOW_NS - HOUR_NS, tokens=1000 + number, team=f"t{number}") for number in range(130)]
    ledger_of(database, book, calls, now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    assert exporter.of("spent_usd", "teams", "team=t129") is not None
    assert exporter.of("spent_usd", "teams", "team=t30") is not None
    assert exporter.of("spent_usd", "teams", "team=t29") is None
    assert exporter.value("spanledger_budget_unshown_states") == 30
    assert exporter.value("genai_budget_groups", budget="teams", at_least="0") == 130


def test_of_many_budgets_the_most_used_are_shown(database: Database, book: PriceBook) -> None:
    declare(database, *({"name": f"b{number}", "limit_usd": number + 1} for number in range(3)), now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS)], now_ns=NOW_NS)
    states = states_of(database, NOW_NS)
    assert shown_states(states) == states
    assert [state.stored.budget.name for state in shown_states(states, states_max=2)] == ["b0", "b1"]


def spend(database: Database, usd: int) -> None:
    with database.write() as connection:
        for table in ("budget_counters", "budget_days"):
            connection.execute(text(f"UPDATE {table} SET cost_micro_usd = {usd * 10**6}, cost_rest_pusd = 0"))


def test_a_counter_whose_total_falls_stands_still_and_goes_on_from_there(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 1000}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS)], now_ns=NOW_NS)
    exporter = shown(database)
    seen: list[float | None] = []
    for usd in (50, 60, 40, 45, 70, 0, 1):
        spend(database, usd)
        exporter.look()
        seen.append(exporter.of("spend_usd_total"))
    assert seen == [50, 60, 60, 65, 90, 90, 91]
    # Another process, or this one after a restart, begins where it was.
    other = shown(database, marks=exporter.held)
    other.look()
    assert other.of("spend_usd_total") == 91
    assert other.of("spent_usd") == 1


def test_a_group_that_is_new_is_zero_first(database: Database, book: PriceBook) -> None:
    """Else nothing would see its first dollars rise."""
    declare(database, {"name": "teams", "limit_usd": 1000, "per": ["team"]}, now_ns=NOW_NS)
    exporter = shown(database, hold_s=30)
    exporter.look()
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="search")], now_ns=NOW_NS)
    exporter.look()
    assert exporter.of("spend_usd_total", "teams", "team=search") == 0
    assert exporter.of("spent_usd", "teams", "team=search") == 10
    exporter.clock_s += 30
    assert exporter.of("spend_usd_total", "teams", "team=search") == 10


def test_what_was_spent_before_anybody_looked_is_no_rise(database: Database, book: PriceBook) -> None:
    """Neither by a group that was there at the start, nor under a budget that is new and counts what was before."""
    declare(database, {"name": "teams", "limit_usd": 1000, "per": ["team"]}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="search")], now_ns=NOW_NS)
    exporter = shown(database, hold_s=30)
    exporter.look()
    assert exporter.of("spend_usd_total", "teams", "team=search") == 10
    declare(database, {"name": "company", "limit_usd": 1000}, now_ns=NOW_NS)
    exporter.look()
    assert exporter.of("spend_usd_total") == 10


def test_a_raise_that_could_not_be_kept_is_kept_with_the_next_look(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "company", "limit_usd": 1000}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS)], now_ns=NOW_NS)
    exporter = shown(database)
    kept, failing = exporter.held, [True]

    def hold(marks: Mapping[tuple[str, tuple[str, ...]], int]) -> None:
        if failing.pop() if failing else False:
            raise UnavailableError("the ledger is locked")
        kept.update(marks)

    exporter.metrics._hold = hold
    for usd in (60, 40, 40):
        spend(database, usd)
        exporter.look()
    assert set(kept.values()) == {20 * 10**6}


def test_a_group_that_was_not_looked_at_for_a_while_is_where_it_was(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "teams", "limit_usd": 1000, "per": ["team"]}, now_ns=NOW_NS)
    ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="search")], now_ns=NOW_NS)
    exporter = shown(database, hold_s=30)
    exporter.look()
    states = exporter.evaluator.states
    exporter.metrics.on_states([])
    exporter.metrics.on_states(states)
    assert exporter.of("spend_usd_total", "teams", "team=search") == 10


def test_a_group_that_is_back_in_a_new_period_is_not_new(database: Database, book: PriceBook) -> None:
    declare(database, {"name": "teams", "limit_usd": 1000, "per": ["team"], "period": "day"}, now_ns=NOW_NS)
    ledger = ledger_of(database, book, [call(book, NOW_NS - HOUR_NS, tokens=TEN_USD, team="search")], now_ns=NOW_NS)
    exporter = shown(database, hold_s=30)
    exporter.look()
    exporter.now_ns += 24 * HOUR_NS
    exporter.look()
    ledger.append([call(book, exporter.now_ns - HOUR_NS, tokens=TEN_USD, team="search")])
    exporter.look()
    assert exporter.of("spend_usd_total", "teams", "team=search") == 20


def test_marks_of_other_metrics_are_let_alone(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 10})
    exporter = shown(database, marks={("genai_cost_usd", ("shop", "", "", "", "")): 7})
    exporter.look()
    assert exporter.of("spend_usd_total") == 0


def test_a_scrape_needs_no_database(sqlite_url: str, book: PriceBook) -> None:
    database = open_database(sqlite_url)
    declare(database, {"name": "company", "limit_usd": 10}, now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    with database.write() as connection:
        connection.execute(text("DROP TABLE budgets"))
    database.close()
    assert exporter.of("limit_usd") == 10


def test_a_failed_evaluation_shows_what_was_known_with_its_time(database: Database) -> None:
    declare(database, {"name": "company", "limit_usd": 10}, now_ns=NOW_NS)
    exporter = shown(database)
    exporter.look()
    with database.write() as connection:
        connection.execute(text("ALTER TABLE budgets RENAME TO gone"))
    assert not exporter.evaluator.run_once()
    assert exporter.value("spanledger_budget_evaluation_failures_total") == 1
    assert exporter.value("spanledger_budget_last_evaluation_timestamp_seconds") == NOW_NS / 1e9
    assert exporter.of("limit_usd") == 10


def test_every_metric_is_known_before_it_has_a_value(database: Database) -> None:
    exporter = shown(database)
    names = {family.name for family in exporter.registry.collect()}
    declare(database, {"name": "company", "limit_usd": 10}, now_ns=NOW_NS)
    exporter.look()
    assert {family.name for family in exporter.registry.collect()} == names


def test_decisions_are_counted_by_budget_with_a_limit() -> None:
    registry = CollectorRegistry()
    metrics = EnforcementMetrics(registry, budgets_max=2)
    metrics.decided([Decided("company", "admitted", 5), Decided("company", "refused", 2)])
    metrics.decided(Decided(budget, "admitted", 1) for budget in ("search", "third", "fourth", "search"))

    def decisions(budget: str, decision: str) -> float | None:
        labels = {"budget": budget, "decision": decision}
        return registry.get_sample_value("genai_budget_decisions_total", labels)

    assert [decisions("company", each) for each in ("admitted", "refused", "failed_open")] == [5, 2, 0]
    assert [decisions(each, "admitted") for each in ("search", "third", "__other__")] == [2, None, 2]


def test_decisions_of_a_known_budget_begin_at_zero() -> None:
    registry = CollectorRegistry()
    known: set[str] = set()
    metrics = EnforcementMetrics(registry, lambda: known)
    refused = "genai_budget_decisions_total", {"budget": "company", "decision": "refused"}
    assert registry.get_sample_value(*refused) is None
    known.add("company")
    assert registry.get_sample_value(*refused) == 0
    metrics.decided([Decided("company", "refused", 3)])
    assert registry.get_sample_value(*refused) == 3


def test_where_all_budgets_are_gone_none_is_shown() -> None:
    registry = CollectorRegistry()
    known: list[set[str] | None] = [None]
    metrics = EnforcementMetrics(registry, lambda: known[0])
    metrics.decided([Decided("company", "refused", 3)])
    labels = {"budget": "company", "decision": "refused"}
    assert registry.get_sample_value("genai_budget_decisions_total", labels) == 3
    known[0] = set()
    assert registry.get_sample_value("genai_budget_decisions_total", labels) is None


def test_a_budget_that_is_gone_gives_its_place_to_another() -> None:
    registry = CollectorRegistry()
    known = {"company"}
    metrics = EnforcementMetrics(registry, lambda: known, budgets_max=1)
    metrics.decided([Decided("company", "refused", 3)])
    known.clear()
    known.add("search")
    labels = {"budget": "search", "decision": "refused"}
    assert registry.get_sample_value("genai_budget_decisions_total", labels) == 0
    metrics.decided([Decided("search", "refused", 1)])
    assert registry.get_sample_value("genai_budget_decisions_total", labels) == 1
    assert registry.get_sample_value("genai_budget_decisions_total", {**labels, "budget": "company"}) is None


def test_decisions_about_budgets_that_there_are_not_have_no_series_of_their_own() -> None:
    registry = CollectorRegistry()
    metrics = EnforcementMetrics(registry, lambda: {"company"})
    metrics.decided([Decided("company", "admitted", 1), Decided("made-up", "admitted", 2)])
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert {sample.labels["budget"] for sample in samples if "budget" in sample.labels} == {"company", "__other__"}


def test_requests_are_counted_from_zero() -> None:
    registry = CollectorRegistry()
    metrics = EnforcementMetrics(registry)
    metrics.answered("ok")
    answers = [
        registry.get_sample_value("spanledger_lease_requests_total", {"answer": each}) for each in ("ok", "denied")
    ]
    assert answers == [1, 0]
