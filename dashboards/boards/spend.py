"""Cost and attribution: who spent what, on what, and what the month will come to. For whoever pays."""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import COUNT, RATIO, USD, WHOLE, Row, bars, grid, lines, number, spread
from dashboards.boards.queries import (
    FORECASTS,
    RANGE,
    buckets,
    hourly,
    month_forecast,
    now,
    or_none,
    quantile,
    rise,
    share,
    tokens,
)
from dashboards.boards.targets import Prom

_COST = rise("genai_cost_usd_total")
_CALLS = rise("genai_calls_total")


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="spend",
        title="Spanledger · Cost and attribution",
        description="Who spent what: by service, team, project, environment, provider, model, and what is paid for.",
        variables=variables.for_spend(),
        since="now-7d",
        rows=[
            Row("All together", _totals()),
            Row(
                "Who spends",
                [_over_time(name) for name in ("service", "team", "project", "environment", "provider", "model")],
            ),
            Row("In the time that is shown", [_table("team", "project"), _table("service", "model")]),
            Row("This month", [_month("team"), _month("project"), _month("service"), _month("model")]),
            Row("What is paid for", [_types(), _types_share(), _spread(), _dear()]),
        ],
    )


def _totals() -> list[Panel]:
    before = rise("genai_cost_usd_total", before=RANGE)
    used = rise("genai_tokens_total")
    return [
        number(
            "Cost",
            "Cost of the calls in the time that is shown; of an unpriced call the cost is not in it.",
            USD,
            Prom(_COST, instant=True),
            links=[links.board("ledger", "Ledger")],
        ),
        number(
            "Against the time before",
            "By how much more, or less, than in as long a time just before. Nothing where there was no spend then.",
            RATIO,
            Prom(f"{share(_COST, before)} - 1", instant=True),
            links=[links.board("ledger", "Ledger")],
            nothing="no spend before",
        ),
        number(
            "Month to date",
            "Cost of this month so far, in UTC, as the ledger has it, whatever time is shown.",
            USD,
            Prom(now("genai_month_to_date_cost_usd"), instant=True),
            links=[links.board("ledger", "Ledger")],
        ),
        number(
            "Month forecast",
            "What this month is likely to come to: the quantiles 0.1, 0.5 and 0.9, so that in eight cases of ten it "
            "ends between the low and the high one. All spend together, whatever is chosen above.",
            USD,
            *(Prom(month_forecast(name), name, instant=True) for name in FORECASTS),
            links=[links.board("budgets", "Budgets", budget="$__all")],
            width=8,
            nothing="nothing spent yet",
        ),
        number(
            "USD per million tokens",
            "Cost, by all tokens that were reported, of whatever type; also those of calls whose cost is not known.",
            USD,
            Prom(f"1e6 * {share(_COST, used)}", instant=True),
            links=[links.board("models", "Models")],
        ),
    ]


def _over_time(name: str) -> Panel:
    return lines(
        f"By {name}",
        "USD an hour, at the pace of each moment. Without a name: not said.",
        USD,
        Prom(hourly("genai_cost_usd_total", name), f"{{{{{name}}}}}"),
        axis="USD an hour",
        links=[links.ledger(name), links.traces(name)],
        stack=True,
    )


def _table(*keys: str) -> Panel:
    by = ", ".join(keys)
    calls, cost = rise("genai_calls_total", by), rise("genai_cost_usd_total", by)
    unpriced = or_none(rise("genai_unpriced_calls_total", by), calls)
    columns = {
        "cost": (cost, Column(unit=USD)),
        "calls": (calls, Column(unit=WHOLE, decimals=0)),
        "tokens": (tokens("rise", by), Column(unit=COUNT, absent="unknown")),
        "cost for a call": (share(cost, f"({calls} - {unpriced})"), Column(unit=USD, decimals=6)),
        "cost unknown": (share(unpriced, calls), Column(unit=RATIO, decimals=1, steps=colors.FEW)),
    }
    return grid(
        f"By {keys[0]} and {keys[1]}",
        "Sums of the time that is shown. What is in no sum, for it has no price, is in the "
        "last column: the share of the calls. Tokens are unknown where none were reported, and not of all calls.",
        keys,
        columns,
        links=[links.ledger(*keys, column=True), links.traces(*keys, column=True)],
        width=12,
        sort="cost",
    )


def _month(name: str) -> Panel:
    return bars(
        f"This month by {name}",
        "Cost of this month so far, in UTC, of the ten that cost most.",
        USD,
        Prom(f"topk(10, {now('genai_month_to_date_cost_usd', name)})", f"{{{{{name}}}}}", instant=True),
        links=[links.ledger(name)],
        width=6,
    )


def _types() -> Panel:
    return lines(
        "By type of cost",
        "USD an hour. `other` is what is not paid by the token: searches, pages, images, fees; `unknown` "
        "is from entries that are older than the split.",
        USD,
        Prom(hourly("genai_cost_by_type_usd_total", "cost_type"), "{{cost_type}}"),
        axis="USD an hour",
        links=[links.board("models", "Models")],
        stack=True,
        by_name=colors.COST_TYPES,
    )


def _types_share() -> Panel:
    part = rise("genai_cost_by_type_usd_total", "cost_type")
    return bars(
        "Share of each type",
        "Part of the cost of the time that is shown.",
        RATIO,
        Prom(
            f"sort_desc({part} / ignoring (cost_type) group_left () ({rise('genai_cost_by_type_usd_total')} > 0))",
            "{{cost_type}}",
            instant=True,
        ),
        links=[links.board("models", "Models")],
        high=1,
    )


def _spread() -> Panel:
    return spread(
        "What a call costs",
        "How many calls a second cost how much, free ones left out. By provider and model only.",
        USD,
        Prom(buckets("genai_call_cost_usd"), "{{le}}", exemplars=True),
        links=[links.traces()],
    )


def _dear() -> Panel:
    return lines(
        "The dearest calls, p99",
        "Of the calls of a model that are not free, 1 % cost more. By provider and model only; as "
        "exact as the buckets of the histogram.",
        USD,
        Prom(quantile(0.99, "genai_call_cost_usd", "model"), "{{model}}", exemplars=True),
        links=[links.traces("model"), links.ledger("model")],
    )
