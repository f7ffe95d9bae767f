"""Models: what each costs for what it does, what its cache saves, and how models compare."""

from grafana_foundation_sdk.models.dashboard import Panel

from dashboards.boards import colors, links, variables
from dashboards.boards.boards import Board
from dashboards.boards.looks import Column
from dashboards.boards.panels import (
    COUNT,
    NONE_REPORTED,
    RATIO,
    SECONDS,
    USD,
    WHOLE,
    Row,
    bars,
    grid,
    lines,
    number,
)
from dashboards.boards.queries import (
    RANGE,
    hourly,
    or_none,
    priced,
    quantile,
    rate,
    reported,
    rise,
    share,
    tokens,
)
from dashboards.boards.targets import Prom

_BY = "provider, model"
_READ = 'token_type="input_cache_read"'
_INPUT = 'token_type=~"input_.*"'
_OUTPUT = 'token_type=~"output_.*"'
_SAVED, _PREMIUM = "genai_cache_saved_usd_total", "genai_cache_write_premium_usd_total"
_NAME = "{{provider}} {{model}}"
_BOTH = ("provider", "model")


def board() -> Board:
    """Return the dashboard."""
    return Board(
        name="models",
        title="Spanledger · Models",
        description="What models cost for a call and for a million tokens, what caches save, and how they compare.",
        variables=variables.for_spend(),
        rows=[
            Row("All together", _totals()),
            Row("Comparison", [_comparison()]),
            Row("Cost", [_for_a_call(), _for_a_million(), _usual(), _types()]),
            Row("Cache", [_hits(), _saved(), _saved_by_model(), _written()]),
            Row("Tokens", [_tokens_for_a_call(), _reasoning(), _tokens(), _calls()]),
        ],
    )


def _net_saved(by: str = "") -> str:
    return f"{rise(_SAVED, by)} - {rise(_PREMIUM, by)}"


def _totals() -> list[Panel]:
    cost = rise("genai_cost_usd_total")
    read, taken = rise("genai_tokens_total", extra=_READ), rise("genai_tokens_total", extra=_INPUT)
    net = _net_saved()
    return [
        number(
            "Cost for a call",
            "Mean cost of the calls that have a price.",
            USD,
            Prom(share(cost, priced("rise")), instant=True),
            links=[links.traces()],
            decimals=6,
        ),
        number(
            "Cache hits",
            "Share of the input tokens that came from the providers' caches.",
            RATIO,
            Prom(share(or_none(read, taken), taken), instant=True),
            links=[links.traces()],
        ),
        number(
            "Net saved by caches",
            "What reads from caches cost less, less what writes to them cost more, than uncached input would have.",
            USD,
            Prom(net, instant=True),
            links=[links.board("ledger", "Ledger")],
        ),
        number(
            "Paid for writes",
            "What writes to caches cost more than uncached input would have. It is taken off what is saved.",
            USD,
            Prom(rise(_PREMIUM), instant=True),
            links=[links.board("ledger", "Ledger")],
        ),
        number(
            "Net saved per USD",
            "What caches saved, less what writing to them cost, for each USD of cost.",
            USD,
            Prom(share(f"({net})", cost), instant=True),
            links=[links.board("ledger", "Ledger")],
            decimals=3,
        ),
        number(
            "Models",
            "Models that were called.",
            COUNT,
            Prom(f"count({rise('genai_calls_total', _BY)} > 0)", instant=True),
            links=[links.board("ledger", "Ledger")],
            decimals=0,
        ),
    ]


def _comparison() -> Panel:
    cost, calls = rise("genai_cost_usd_total", _BY), rise("genai_calls_total", _BY)
    used = rise("genai_tokens_total", _BY)
    taken, read = rise("genai_tokens_total", _BY, _INPUT), rise("genai_tokens_total", _BY, _READ)
    errors = or_none(rise("genai_calls_total", _BY, 'outcome="error"'), calls)
    columns = {
        "cost": (cost, Column(unit=USD)),
        "calls": (calls, Column(unit=WHOLE, decimals=0)),
        "cost for a call": (share(cost, priced("rise", _BY)), Column(unit=USD, decimals=6)),
        "USD per million tokens": (f"1e6 * {share(cost, used)}", Column(unit=USD)),
        "output tokens for a call": (
            share(tokens("rise", _BY, _OUTPUT), reported("rise", _BY)),
            Column(unit=COUNT, absent="unknown"),
        ),
        "cache hits": (share(or_none(read, taken), taken), Column(unit=RATIO, decimals=1, bar=True)),
        "net saved by the cache": (_net_saved(_BY), Column(unit=USD)),
        "fail": (share(errors, calls), Column(unit=RATIO, decimals=1, steps=colors.FEW)),
        "duration, p50": (quantile(0.5, "genai_call_duration_seconds", _BY, RANGE), Column(unit=SECONDS)),
        "tokens a second, p50": (
            quantile(0.5, "genai_output_tokens_per_second", _BY, RANGE),
            Column(unit=COUNT, decimals=1),
        ),
    }
    return grid(
        "Models side by side",
        "In the time that is shown; a click on a heading sorts. Output tokens are a mean of the calls whose usage is "
        "known. Durations and speeds by provider and model only.",
        _BOTH,
        columns,
        links=[links.ledger(*_BOTH, column=True), links.traces(*_BOTH, column=True)],
        height=10,
        sort="cost",
    )


def _lines(title: str, text: str, unit: str, expr: str, **more: object) -> Panel:
    return lines(title, text, unit, Prom(expr, _NAME), links=[links.ledger(*_BOTH), links.traces(*_BOTH)], **more)  # type: ignore[arg-type]


def _for_a_call() -> Panel:
    return _lines(
        "Cost for a call",
        "Mean cost of the calls of each model that have a price.",
        USD,
        share(rate("genai_cost_usd_total", _BY), priced("rate", _BY)),
        decimals=6,
    )


def _for_a_million() -> Panel:
    return _lines(
        "USD per million tokens",
        "Cost, by all tokens that were reported, of whatever type; also those of calls whose cost is not known.",
        USD,
        f"1e6 * {share(rate('genai_cost_usd_total', _BY), rate('genai_tokens_total', _BY))}",
    )


def _usual() -> Panel:
    metric = "genai_call_cost_usd"
    return lines(
        "What calls cost",
        "Of the calls that are not free: half of a model's cost less than its p50, 95 % less than its p95. By "
        "provider and model only; as exact as the buckets of the histogram.",
        USD,
        Prom(quantile(0.5, metric, "model"), "{{model}} p50", exemplars=True),
        Prom(quantile(0.95, metric, "model"), "{{model}} p95", exemplars=True),
        links=[links.traces("model")],
        decimals=6,
    )


def _types() -> Panel:
    expr = rise("genai_cost_by_type_usd_total", "model, cost_type")
    return bars(
        "What is paid for",
        "Cost of the time that is shown, by model and type, of the 20 largest.",
        USD,
        Prom(f"topk(20, {expr})", "{{model}} {{cost_type}}", instant=True),
        links=[links.ledger("model"), links.traces("model")],
    )


def _hits() -> Panel:
    taken = rate("genai_tokens_total", _BY, _INPUT)
    return _lines(
        "Cache hits",
        "Share of the input tokens that came from the provider's cache.",
        RATIO,
        share(or_none(rate("genai_tokens_total", _BY, _READ), taken), taken),
        high=1,
    )


def _saved() -> Panel:
    return lines(
        "What caches save, and cost",
        "What reads cost less, and writes more, than uncached input would have; net saved is the one less the other.",
        USD,
        Prom(hourly(_SAVED), "saved by reads, gross"),
        Prom(hourly(_PREMIUM), "paid for writes"),
        axis="USD an hour",
        links=[links.board("ledger", "Ledger")],
        by_name={"saved by reads, gross": colors.BLUE, "paid for writes": colors.ORANGE},
    )


def _saved_by_model() -> Panel:
    return bars(
        "Net saved by each model's cache",
        "What reads cost less, less what writes cost more, than uncached input would have, in the time that is shown.",
        USD,
        Prom(f"topk(10, {_net_saved(_BY)})", _NAME, instant=True),
        links=[links.ledger(*_BOTH)],
    )


def _written() -> Panel:
    written = tokens("rate", _BY, 'token_type="input_cache_write"')
    return _lines(
        "Written to caches",
        "Tokens a second, of the models that report any tokens.",
        COUNT,
        f"{written} and {rate('genai_tokens_total', _BY)} > 0",
        axis="tokens a second",
        stack=True,
    )


def _tokens_for_a_call() -> Panel:
    calls = reported("rate")
    return lines(
        "Tokens for a call",
        "Mean over the calls whose usage is known.",
        COUNT,
        Prom(share(tokens("rate", extra=_INPUT), calls), "input"),
        Prom(share(tokens("rate", extra=_OUTPUT), calls), "output"),
        nothing=NONE_REPORTED,
        links=[links.traces()],
        by_name={"input": colors.BLUE, "output": colors.ORANGE},
    )


def _reasoning() -> Panel:
    written = rate("genai_tokens_total", _BY, _OUTPUT)
    return _lines(
        "Reasoning",
        "Share of the output tokens.",
        RATIO,
        share(or_none(rate("genai_tokens_total", _BY, 'token_type="output_reasoning"'), written), written),
        high=1,
    )


def _tokens() -> Panel:
    return lines(
        "Tokens by type",
        "Tokens a second; the types are disjoint and add up to all.",
        COUNT,
        Prom(tokens("rate", "token_type"), "{{token_type}}"),
        nothing=NONE_REPORTED,
        axis="tokens a second",
        links=[links.traces()],
        stack=True,
        by_name=colors.TOKEN_TYPES,
    )


def _calls() -> Panel:
    return _lines("Calls", "Calls a second.", COUNT, rate("genai_calls_total", _BY), axis="calls a second", stack=True)
