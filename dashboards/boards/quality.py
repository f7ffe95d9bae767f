"""Data quality: what the figures of the other dashboards lack, and what Spanledger found to be wrong with them."""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import COUNT, RATIO, SECONDS, USD, WHOLE, Row, bars, grid, lines, number
from dashboards.boards.queries import RANGE, RATE, highest, hourly, or_none, rate, rise, share
from dashboards.boards.targets import Prom

_CALLS = rise("genai_calls_total")
_MONTH_S, _45_DAYS_S = 30 * 86_400, 45 * 86_400
_HEALTH = "Of all that was sent, whatever is chosen above."
_NONE = "none"


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="quality",
        title="Spanledger · Data quality",
        description="Calls without a price or usage, reports that were put together or refused, the age of prices, and "
        "whether sums agree.",
        variables=variables.for_spend(),
        rows=[
            Row("Now", _now()),
            Row("Cost unknown", [_unpriced(), _unpriced_share(), _unpriced_table()]),
            Row("Usage unknown", [_unreported(), _unreported_share(), _unreported_table()]),
            Row("Reports", [_spans(), _figures(), _unreadable(), _letters()]),
            Row("Prices and sums", [_book(), _price_age(), _unsplit(), _drift(), _repeated(), _folded(), _above()]),
        ],
    )


def _now() -> list[Panel]:
    unpriced, unreported = (or_none(rise(f"genai_{kind}_calls_total"), _CALLS) for kind in ("unpriced", "unreported"))
    spans = "sum(increase(spanledger_spans_total{}[" + RANGE + "]))"
    folded = spans.replace("{}", '{result=~"folded|duplicate"}')
    received = spans.replace("{}", '{result=~"accepted|folded|duplicate|rejected"}')
    age = "time() - (max(spanledger_price_book_timestamp_seconds) > 0)"
    return [
        number(
            "Cost unknown",
            "Share of the calls that have no price, or no usage to be priced: their cost is in no sum.",
            RATIO,
            Prom(share(unpriced, _CALLS), instant=True),
            links=[links.board("ledger", "Ledger")],
            steps=colors.FEW,
        ),
        number(
            "Usage unknown",
            "Share of the calls that may be billed and whose usage was not reported, or not to the end.",
            RATIO,
            Prom(share(unreported, _CALLS), instant=True),
            links=[links.board("ledger", "Ledger")],
            steps=colors.FEW,
        ),
        number(
            "Age of the prices",
            f"Since the price list in use was published, or the ledger learnt of it. {_HEALTH}",
            SECONDS,
            Prom(age, instant=True),
            links=[links.board("exporter", "Exporter health", instance="$__all")],
            steps=((None, colors.BLUE), (_MONTH_S, colors.ORANGE), (_45_DAYS_S, colors.VERMILION)),
            nothing="no prices",
        ),
        number(
            "Told more than once",
            f"Share of the reports that were of calls which had an entry already; each is counted once. {_HEALTH}",
            RATIO,
            Prom(share(folded, received), instant=True),
            links=[links.board("exporter", "Exporter health", instance="$__all")],
        ),
        number(
            "Largest drift",
            "By how much the counters of a budget differ from its entries of the last two days; 0 is right. Compared "
            "once an hour.",
            USD,
            Prom("max(abs(spanledger_budget_drift_usd))", instant=True),
            links=[links.board("budgets", "Budgets", budget="$__all")],
            nothing="no budget",
        ),
        number(
            "Dead letters",
            f"Spans that could not become entries, written in the time that is shown. {_HEALTH}",
            COUNT,
            Prom(f"sum(increase(spanledger_dead_letters_total[{RANGE}]))", instant=True),
            decimals=0,
            links=[links.board("exporter", "Exporter health", instance="$__all")],
            steps=colors.NONE_IS_WELL,
        ),
    ]


def _unpriced() -> Panel:
    return lines(
        "Calls without a price",
        "Calls a second, by the reason.",
        COUNT,
        Prom(rate("genai_unpriced_calls_total", "reason"), "{{reason}}"),
        axis="calls a second",
        links=[links.board("ledger", "Ledger"), links.traces()],
        stack=True,
        nothing=_NONE,
    )


def _unpriced_share() -> Panel:
    calls = rate("genai_calls_total", "service")
    return lines(
        "Share without a price",
        "Of the calls of each service.",
        RATIO,
        Prom(share(or_none(rate("genai_unpriced_calls_total", "service"), calls), calls), "{{service}}"),
        links=[links.ledger("service"), links.traces("service")],
        steps=colors.FEW,
    )


def _unpriced_table() -> Panel:
    by = "provider, model, reason"
    columns = {"calls": (f"{rise('genai_unpriced_calls_total', by)} > 0", Column(unit=WHOLE, decimals=0))}
    return grid(
        "Models without a price",
        "In the time that is shown. A price of your own, or a newer price list, ends it; `spanledger "
        "reprice` prices what is there.",
        ("provider", "model", "reason"),
        columns,
        links=[links.ledger("provider", "model", column=True), links.traces("provider", "model", column=True)],
        nothing=_NONE,
        sort="calls",
    )


def _unreported() -> Panel:
    return lines(
        "Calls without usage",
        "Calls a second; `partial` is what was known when the answer ended early.",
        COUNT,
        Prom(rate("genai_unreported_calls_total", "usage_status"), "{{usage_status}}"),
        axis="calls a second",
        links=[links.board("ledger", "Ledger"), links.traces()],
        stack=True,
        nothing=_NONE,
    )


def _unreported_share() -> Panel:
    calls = rate("genai_calls_total", "provider")
    return lines(
        "Share without usage",
        "Of the calls to each provider.",
        RATIO,
        Prom(share(or_none(rate("genai_unreported_calls_total", "provider"), calls), calls), "{{provider}}"),
        links=[links.ledger("provider"), links.traces("provider")],
        steps=colors.FEW,
    )


def _unreported_table() -> Panel:
    keys = ("service", "provider", "model", "usage_status")
    columns = {
        "calls": (f"{rise('genai_unreported_calls_total', ', '.join(keys))} > 0", Column(unit=WHOLE, decimals=0))
    }
    return grid(
        "Where usage is missing",
        "In the time that is shown. What such calls cost is unknown, never 0.",
        keys,
        columns,
        links=[
            links.ledger("service", "provider", "model", column=True),
            links.traces("service", "model", column=True),
        ],
        nothing=_NONE,
        sort="calls",
    )


def _of_all(title: str, text: str, axis: str, metric: str, label: str, *, nothing: str = _NONE) -> Panel:
    expr = f"sum by ({label}) (rate({metric}[{RATE}]))" if label else f"sum(rate({metric}[{RATE}]))"
    return lines(
        title,
        f"{text} {_HEALTH}",
        COUNT,
        Prom(expr, f"{{{{{label}}}}}" if label else title),
        axis=axis,
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        stack=bool(label),
        nothing=nothing,
    )


def _spans() -> Panel:
    return _of_all(
        "What became of spans",
        "A second. `folded` is another report of a call that has an entry, `duplicate` the same again, "
        "`ignored` no call to a model, `rejected` unreadable.",
        "reports a second",
        "spanledger_spans_total",
        "result",
        nothing="nothing received",
    )


def _figures() -> Panel:
    return _of_all(
        "Refused figures",
        "Figures a second that cannot be; they are taken for not reported.",
        "figures a second",
        "spanledger_refused_figures_total",
        "reason",
    )


def _unreadable() -> Panel:
    return _of_all(
        "Unreadable attributes",
        "A second; their calls count all the same.",
        "attributes a second",
        "spanledger_unreadable_attributes_total",
        "",
    )


def _letters() -> Panel:
    return _of_all("Dead letters", "By the reason.", "spans a second", "spanledger_dead_letters_total", "reason")


def _book() -> Panel:
    columns = {"replicas": ("count by (source) (spanledger_price_book_info)", Column(unit=WHOLE, decimals=0))}
    return grid(
        "Price list in use",
        "By how many replicas of the exporter; more than one list is right only for moments.",
        ("source",),
        columns,
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        width=8,
        nothing="no prices",
    )


def _price_age() -> Panel:
    return lines(
        "Age of the prices",
        "Since the price list in use was published, or the ledger learnt of it.",
        SECONDS,
        Prom("time() - (max(spanledger_price_book_timestamp_seconds) > 0)", "age"),
        width=8,
        nothing="no prices",
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        steps=((None, colors.BLUE), (_45_DAYS_S, colors.VERMILION)),
    )


def _unsplit() -> Panel:
    return lines(
        "Cost without a split",
        "USD an hour of which it is not known what it was paid for: from entries that are older than the "
        "split by type.",
        USD,
        Prom(hourly("genai_cost_by_type_usd_total", extra='cost_type="unknown"'), "unknown"),
        width=8,
        axis="USD an hour",
        links=[links.board("spend", "Cost and attribution")],
        by_name={"unknown": colors.GREY},
        nothing=_NONE,
    )


def _drift() -> Panel:
    return lines(
        "Drift of budgets",
        "By how much the counters of a budget differ from its entries of the last two days. Anything but 0 is wrong; "
        "`spanledger ledger check` says what.",
        USD,
        Prom("max by (budget) (abs(spanledger_budget_drift_usd))", "{{budget}}"),
        width=8,
        low=None,
        nothing="no budget",
        links=[links.periods(links.field("budget")), links.board("budgets", "Budgets", budget=links.field("budget"))],
    )


def _repeated() -> Panel:
    return lines(
        "Spans that are several entries",
        "Found within an hour, because their times were cut on one of several ways.",
        COUNT,
        Prom("sum(increase(spanledger_repeated_spans_total[1h]))", "repeated"),
        width=8,
        axis="spans in the last hour",
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        nothing=_NONE,
    )


def _folded() -> Panel:
    series = f"max by (metric) (increase(spanledger_folded_series_total[{RANGE}]))"
    return bars(
        "Folded into __other__",
        "What was summed under `__other__` in the time that is shown: label sets of a metric, calls in the ledger, and "
        "sums of budgets.",
        COUNT,
        Prom(f"sort_desc({series})", "series of {{metric}}", instant=True),
        Prom(f"sum(increase(spanledger_folded_calls_total[{RANGE}]))", "calls in the ledger", instant=True),
        Prom(f"sum(increase(spanledger_budget_groups_folded_total[{RANGE}]))", "sums of budgets", instant=True),
        width=8,
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        steps=colors.NONE_IS_WELL,
        nothing=_NONE,
    )


def _above() -> Panel:
    columns = {"above": (highest("spanledger_above_ledger", "metric"), Column(unit=COUNT, decimals=2))}
    return grid(
        "Counters above the ledger",
        "By how much, in the counter's own unit: what corrections took away, for a counter must not fall. The month, "
        "budgets and `spanledger report` have it without that.",
        ("metric",),
        columns,
        width=24,
        links=[links.board("exporter", "Exporter health", instance="$__all")],
        nothing=_NONE,
    )
