"""What Prometheus makes of the counters: the first dollar, bounds, dimensions, and several writers on one ledger."""

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger import held_counters
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.held_counters import Held, Marks
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.ledger.standings import Standing
from spanledger_exporter.metrics.counted import OfCounters
from spanledger_exporter.metrics.dimensions import ALLOWED_DIMENSIONS, Dimensions
from spanledger_exporter.metrics.metrics import LedgerMetrics
from spanledger_exporter.metrics.spend import SpendMetrics, places_of, raises
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import OTHER, Adjustment, Price
from tests.exporter.calls import USAGE_PUSD, priced

CELL = Cell(*[""] * len(Cell._fields))._replace(
    service="shop", team="search", model="gpt-5", operation="chat", outcome="ok", price_status="priced"
)
ONE = Sums()._replace(calls=1, input_tokens=10, cost_pusd=10**12)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def costs(registry: CollectorRegistry, *labels: str) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[name] for name in labels): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "genai_cost_usd_total"
    }


def test_a_new_series_is_zero_until_prometheus_has_seen_it_so() -> None:
    clock, registry = Clock(), CollectorRegistry()
    spend = SpendMetrics(registry, {}, hold_s=30, clock_s=clock)
    spend.add({CELL: ONE})
    clock.now_s += 1000  # nobody has asked yet
    assert costs(registry, "model") == {("gpt-5",): 0}
    clock.now_s += 29
    spend.add({CELL: ONE})
    assert costs(registry, "model") == {("gpt-5",): 0}
    clock.now_s += 1
    assert costs(registry, "model") == {("gpt-5",): 2}
    clock.now_s += 1
    spend.add({CELL: ONE})
    assert costs(registry, "model") == {("gpt-5",): 3}


def test_a_series_that_the_ledger_had_at_the_start_is_shown_at_once() -> None:
    """Prometheus has seen it; a 0 in between would count all of it once more."""
    registry = CollectorRegistry()
    SpendMetrics(registry, {CELL: ONE}, hold_s=30, clock_s=Clock())
    assert costs(registry, "model") == {("gpt-5",): 1}


def test_a_metric_has_no_more_series_than_its_limit_and_loses_nothing() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {}, series_max=15)  # tokens and costs have five for each set
    for number in range(50):
        spend.add({CELL._replace(model=f"model-{number}", team=f"team-{number}"): ONE})
    assert costs(registry, "model", "team") == {
        ("model-0", "team-0"): 1,
        ("model-1", "team-1"): 1,
        ("model-2", "team-2"): 1,
        (OTHER, OTHER): 47,
    }
    spend.add({CELL._replace(model="model-1", team="team-1"): ONE, CELL._replace(model="model-9", team="team-9"): ONE})
    assert costs(registry, "model")["model-1",] == 2
    assert costs(registry, "model")[OTHER,] == 48
    assert spend.folded["genai_cost_usd"] == 47


def test_all_counters_fold_the_same_calls() -> None:
    """Else a model would have a cost here and its tokens elsewhere, and nothing could be divided by the other."""
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {}, series_max=20)
    for number in range(50):
        spend.add({CELL._replace(model=f"model-{number}", outcome="ok" if number % 2 else "error"): ONE})
    models = {name: set(samples(registry, f"genai_{name}_total", "model")) for name in ("cost_usd", "tokens", "calls")}
    assert models["cost_usd"] == models["tokens"] == models["calls"]
    assert len(models["cost_usd"]) == 4 + 1


def test_types_of_errors_are_bounded_as_well() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {}, series_max=20)
    for number in range(50):
        spend.add({CELL._replace(outcome="error", error_type=f"error-{number}", price_status="none"): ONE})
    assert samples(registry, "genai_call_errors_total", "error_type").keys() == {f"error-{n}" for n in range(50)}
    assert samples(registry, "genai_call_errors_total", "model").keys() == {"gpt-5", OTHER}
    assert spend.folded["genai_call_errors"] == 30


def test_how_many_sets_of_labels_were_folded_is_shown() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {}, series_max=10)
    registry.register(OfCounters(spend))
    spend.add({CELL._replace(model=f"model-{number}"): ONE for number in range(5)})
    folded = {
        sample.labels["metric"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "spanledger_folded_series_total"
    }
    assert folded["genai_cost_usd_total"] == 3
    assert folded["genai_calls_total"] == 3


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (("model", "service"), ("service", "model")),
        (("tenant",), ("tenant",)),
        ((), ()),
        (ALLOWED_DIMENSIONS, ALLOWED_DIMENSIONS),
    ],
)
def test_the_dimensions_are_those_that_are_configured(names: tuple[str, ...], labels: tuple[str, ...]) -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {}, places=places_of(Dimensions(names), 100))
    spend.add({CELL: ONE, CELL._replace(model="o3"): ONE, CELL._replace(feature="ask"): ONE})
    (family,) = (family for family in registry.collect() if family.name == "genai_cost_usd")
    assert {tuple(sample.labels) for sample in family.samples} == {labels}
    assert sum(sample.value for sample in family.samples) == 3


ALL_LABELS = tuple(f"{name}={getattr(CELL, name)}" for name in ALLOWED_DIMENSIONS)
LESS = Sums()._replace(cost_pusd=-(10**11))


def test_what_was_held_under_other_dimensions_holds_nothing() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {CELL: ONE}, places=places_of(Dimensions(("service",)), 100))
    marks = spend.add({CELL: LESS})
    assert costs(registry) == {(): 1}
    again = CollectorRegistry()
    SpendMetrics(again, {CELL: ONE.plus(LESS)}, Held(marks, {}), places=places_of(Dimensions(("team",)), 100))
    assert costs(again) == {(): 0.9}


def test_only_a_hold_that_is_new_is_kept() -> None:
    """A ledger where calls become known better all the time would write the same with each commit."""
    spend = SpendMetrics(CollectorRegistry(), {CELL: ONE})
    assert set(spend.add({CELL: LESS}).values()) == {10**12}
    assert spend.add({CELL: Sums()._replace(cost_pusd=10**10)}) == {}
    assert spend.add({CELL: LESS}) == {}
    spend.add({CELL: ONE})
    assert set(spend.falls({CELL: LESS}).values()) == {181 * 10**10}
    assert set(spend.add({CELL: LESS}).values()) == {181 * 10**10}


def test_marks_of_series_that_are_folded_now_are_not_added_to_the_rest() -> None:
    cells = [CELL._replace(model=f"model-{number}") for number in range(5)]
    held = SpendMetrics(CollectorRegistry(), dict.fromkeys(cells, ONE)).add(dict.fromkeys(cells, LESS))
    registry = CollectorRegistry()
    SpendMetrics(registry, dict.fromkeys(cells, ONE.plus(LESS)), Held(held, {}), series_max=10)
    assert costs(registry, "model") == {("model-0",): 1, ("model-1",): 1, (OTHER,): pytest.approx(2.7)}


def test_a_counter_that_is_raised_goes_on_while_its_total_is_lower() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {CELL: ONE})
    raised = raises({CELL: LESS})
    assert raised.keys() == {
        ("genai_cost_usd", ALL_LABELS),
        ("genai_cost_by_type_usd", (*ALL_LABELS, "cost_type=unknown")),
    }
    assert set(raised.values()) == {10**11}
    spend.follow({CELL: ONE.plus(LESS)}, raised)
    assert costs(registry, "model") == {("gpt-5",): 1}
    spend.add({CELL: Sums()._replace(cost_pusd=10**10)})
    assert costs(registry, "model") == {("gpt-5",): 1.01}
    assert spend.above["genai_cost_usd"] == 0.1


@pytest.mark.parametrize("names", [("team",), ("feature", "model"), (), ALLOWED_DIMENSIONS])
def test_what_is_raised_is_summed_up_by_the_dimensions_that_are_shown(names: tuple[str, ...]) -> None:
    """Whoever gives calls another price need not know them."""
    cells = [CELL, CELL._replace(model="o3"), CELL._replace(model="o3", feature="ask")]
    raised = raises(dict.fromkeys(cells, LESS))
    before, after = CollectorRegistry(), CollectorRegistry()
    SpendMetrics(before, dict.fromkeys(cells, ONE), places=places_of(Dimensions(names), 100))
    totals = dict.fromkeys(cells, ONE.plus(LESS))
    SpendMetrics(after, totals, Held({}, raised), places=places_of(Dimensions(names), 100))
    assert costs(after, *names) == pytest.approx(costs(before, *names), rel=1e-12)


def test_what_is_raised_of_calls_that_are_folded_raises_the_rest() -> None:
    cells = [CELL._replace(model=f"model-{number}") for number in range(5)]
    registry = CollectorRegistry()
    totals = dict.fromkeys(cells, ONE.plus(LESS))
    SpendMetrics(registry, totals, Held({}, raises(dict.fromkeys(cells, LESS))), series_max=10)
    assert costs(registry, "model") == {("model-0",): 1, ("model-1",): 1, (OTHER,): 3}


def test_the_mark_of_what_was_folded_holds_nothing_where_nothing_is_folded_any_more() -> None:
    cells = [CELL._replace(model=f"model-{number}") for number in range(5)]
    held = SpendMetrics(CollectorRegistry(), dict.fromkeys(cells, ONE), series_max=10).add({cells[4]: LESS})
    assert len(held) > 0
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {**dict.fromkeys(cells, ONE), cells[4]: ONE.plus(LESS)}, Held(held, {}))
    assert sum(costs(registry, "model").values()) == 4.9
    assert spend.above["genai_cost_usd"] == 0


def test_the_same_calls_have_series_of_their_own_after_a_start_though_some_are_emptied(
    ledger: Ledger, book: PriceBook
) -> None:
    """Else another would take the place, and what it added to the rest would be missing there."""
    one_call = {"response_id": "chatcmpl-B1x2y3z4w5v6u7", "outcome": "ok"}
    ledger.append([priced(book, scope="one", request_model="first", response_model=None, **one_call)])
    ledger.append([priced(book, request_model="second", response_model=None)])
    ledger.append([priced(book, request_model="third", response_model=None)])
    ledger.append([priced(book, scope="other", request_model="first", response_model="first-2026", **one_call)])
    assert "first" not in {cell.model for cell in ledger.totals()}
    registry = CollectorRegistry()
    SpendMetrics(registry, *ledger.standings.read(), series_max=10)
    assert samples(registry, "genai_calls_total", "model") == {"first": 0, "second": 1, OTHER: 2}


def test_what_another_writer_commits_or_corrects_is_followed(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    registry = CollectorRegistry()
    spend = LedgerMetrics(registry, ledger.totals(), lambda: 0, hold=ledger.standings.hold)
    database = open_database(ledger_url)
    try:
        other = Ledger(database, cells_max=100)
        other.keep_book(book)
        other.append([priced(book)])
        spend.follow(ledger.standings.read_of_others())
        assert sum(costs(registry, "model").values()) == USAGE_PUSD / 1e12
        spend.committed(ledger.append([priced(book), priced(book)]), 0)
        other.append([priced(book)])
        spend.committed(ledger.append([priced(book)]), 0)
        spend.follow(ledger.standings.read_of_others())
        assert sum(costs(registry, "model").values()) == 5 * USAGE_PUSD / 1e12
        assert ledger.standings.read_of_others() is None
        other.adjust([Adjustment(1, Price("priced", 3 * USAGE_PUSD), book.book_id, "a price that came later")])
        spend.follow(ledger.standings.read_of_others())
        assert sum(costs(registry, "model").values()) == 7 * USAGE_PUSD / 1e12
    finally:
        database.close()


def test_own_commits_are_no_reason_to_read_the_totals_again(ledger: Ledger, book: PriceBook) -> None:
    ledger.totals()
    ledger.append([priced(book)])
    ledger.append([priced(book)])
    assert ledger.standings.read_of_others() is None


def samples(registry: CollectorRegistry, name: str, label: str) -> dict[str, float]:
    return {
        sample.labels[label]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def test_cost_types_add_up_to_the_cost_and_what_is_not_known_is_said() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {})
    parts = {
        "cost_input_uncached_pusd": 4,
        "cost_cache_read_pusd": 1,
        "cost_cache_write_pusd": 2,
        "cost_output_pusd": 5,
    }
    known = Sums()._replace(calls=1, cost_pusd=15, cost_other_pusd=3, **parts)
    spend.add({CELL: known})
    by_type = samples(registry, "genai_cost_by_type_usd_total", "cost_type")
    assert by_type == {
        "input_uncached": 4e-12,
        "input_cache_read": 1e-12,
        "input_cache_write": 2e-12,
        "output": 5e-12,
        "other": 3e-12,
    }
    spend.add({CELL: Sums()._replace(calls=1, cost_pusd=7)})
    by_type = samples(registry, "genai_cost_by_type_usd_total", "cost_type")
    assert by_type["unknown"] == 7e-12
    assert sum(by_type.values()) == pytest.approx(22e-12, rel=1e-12)


def test_errors_and_retries_are_told_apart_from_other_calls() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {})
    one = Sums()._replace(calls=1)
    spend.add({CELL._replace(outcome="error", price_status="none", error_type="429", attempt="first"): one})
    spend.add({CELL._replace(outcome="error", price_status="none", error_type="429", attempt="retry"): one})
    spend.add({CELL._replace(outcome="error", price_status="none"): one})
    spend.add({CELL._replace(attempt="retry"): one, CELL._replace(attempt="first"): one})
    assert samples(registry, "genai_call_errors_total", "error_type") == {"429": 2, "unknown": 1}
    assert samples(registry, "genai_retries_total", "outcome") == {"error": 1, "ok": 1}


def test_what_caches_save_and_cost_is_counted_for_priced_calls() -> None:
    registry = CollectorRegistry()
    spend = SpendMetrics(registry, {})
    spend.add({CELL: Sums()._replace(calls=1, cache_saved_pusd=10**12, cache_write_premium_pusd=2 * 10**12)})
    assert samples(registry, "genai_cache_saved_usd_total", "model") == {"gpt-5": 1}
    assert samples(registry, "genai_cache_write_premium_usd_total", "model") == {"gpt-5": 2}


def test_a_cell_that_another_writer_empties_counts_no_more(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    """The call moves on to another cell, and would be counted in both."""
    registry = CollectorRegistry()
    spend = LedgerMetrics(registry, ledger.totals(), lambda: 0)
    unpriced = {"request_model": "mystery", "response_model": "mystery"}
    spend.committed(ledger.append([priced(book, **unpriced), priced(book, **unpriced)]), 0)
    database = open_database(ledger_url)
    try:
        other = Ledger(database, cells_max=100)
        other.keep_book(book)
        price = Price("priced", 10**12)
        other.adjust([Adjustment(number, price, book.book_id, "a price that came later") for number in (1, 2)])
    finally:
        database.close()
    spend.follow(ledger.standings.read_of_others())
    assert samples(registry, "genai_calls_total", "model") == {"mystery": 2}
    assert samples(registry, "genai_cost_usd_total", "model") == {"mystery": 2}


def test_of_two_exporters_that_hold_a_counter_the_farthest_is_kept(ledger: Ledger) -> None:
    series = ("genai_cost_usd", ("model=gpt-5",))
    ledger.standings.hold({series: 100 * 10**12})
    ledger.standings.hold({series: 99 * 10**12})
    assert ledger.standings.held().marks == {series: 100 * 10**12}
    ledger.standings.hold({series: 101 * 10**12})
    assert ledger.standings.held().marks == {series: 101 * 10**12}


def test_a_hold_that_could_not_be_kept_is_kept_with_the_next_commit() -> None:
    kept: list[dict[tuple[str, tuple[str, ...]], int]] = []
    failing = [True]

    def hold(marks: Marks) -> None:
        if failing.pop() if failing else False:
            raise UnavailableError("the ledger is locked")
        kept.append(dict(marks))

    spend = LedgerMetrics(CollectorRegistry(), {CELL: ONE}, lambda: 0, hold=hold)
    with pytest.raises(UnavailableError):
        spend.follow(Standing({CELL: ONE.plus(LESS)}, held_counters.NOTHING))
    spend.follow(None)
    spend.follow(None)
    assert [set(marks.values()) for marks in kept] == [{10**12}]


def test_marks_of_labels_that_no_index_takes_are_kept(ledger: Ledger) -> None:
    labels = tuple(f"team={chr(0x4E00 + number) * 200}" for number in range(9))
    keys = [("genai_cost_usd", (*labels, f"model={number}")) for number in range(3)]
    ledger.standings.hold(dict.fromkeys(keys, 7))
    ledger.standings.hold({keys[0]: 9, keys[1]: 5})
    assert ledger.standings.held().marks == {keys[0]: 9, keys[1]: 7, keys[2]: 7}


def test_metrics_that_fail_keep_no_commit_from_being_made(ledger: Ledger, book: PriceBook) -> None:
    def falls(_moved: object) -> Marks:
        raise ZeroDivisionError

    ledger.hold_by(falls)
    one_call = {"response_id": "chatcmpl-B1x2y3z4w5v6u7", "outcome": "ok"}
    ledger.append([priced(book, scope="one", **one_call)])
    assert ledger.append([priced(book, scope="other", **one_call)]).folded == 1
