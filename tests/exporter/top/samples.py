"""Overviews for tests: one as it may be, and parts of any kind."""

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from spanledger_exporter.top.overview import (
    MINUTES,
    BudgetGroups,
    BudgetLine,
    Call,
    Figures,
    Line,
    Minute,
    Outlook,
    Overview,
    total,
)

AT_S = 1_795_000_000  # 2026-11-18T11:06:40Z
USD = 10**12
LINES = (
    Line(
        service="shop", provider="openai", model="gpt-5-mini", figures=Figures(
            calls=120, errors=3, input_tokens=150_000, output_tokens=30_000, cost_pusd=2 * USD + 345_678_900_000
        ),
    ),
    Line(
        service="search", provider="openai", model="gpt-5-mini", figures=Figures(
            calls=40, input_tokens=1_000, output_tokens=500, cost_pusd=USD // 8
        ),
    ),
    Line(
        service="search", provider="anthropic", model="claude-haiku-4-5", figures=Figures(
            calls=7, errors=5, unpriced_calls=1, unreported_calls=1, input_tokens=900_000, output_tokens=0,
            cost_pusd=USD // 4,
        ),
    ),
    Line(service="billing", provider="mistral", model="mystery", figures=Figures(calls=2, unpriced_calls=2)),
)  # fmt: skip
BUDGET = BudgetLine(
    name="company", group="", unit="micro_usd", mode="soft", limit=50_000_000, spent=38_000_000, expected=55_000_000,
    thresholds=(75,), unpriced_calls=0, start_s=AT_S - 17 * 86_400, end_s=AT_S + 13 * 86_400, run_out_s=AT_S + 86_400,
)  # fmt: skip
CALL = Call(
    entry_id=7, end_s=AT_S - 5, duration_ms=1234, service="shop", provider="openai", model="gpt-5-mini",
    operation="chat", outcome="ok", error_type=None, input_tokens=1472, output_tokens=224, usage_status="reported",
    price_status="priced", price_reason=None, cost_pusd=499_200_000,
)  # fmt: skip
UNPRICED = replace(
    CALL, entry_id=6, model="mystery", price_status="unpriced", price_reason="unknown_model", cost_pusd=None
)
FAILED = replace(
    CALL, entry_id=5, outcome="error", error_type="rate_limit_exceeded", input_tokens=None, output_tokens=None,
    price_status="none", cost_pusd=None,
)  # fmt: skip


def minutes(*costs: int | None) -> tuple[Minute, ...]:
    """The last sixty minutes, of which the last ones cost so much; without a call before."""
    first = MINUTES - len(costs)
    return tuple(
        Minute(
            start_s=AT_S // 60 * 60 - (MINUTES - 1 - place) * 60,
            calls=int(place >= first),
            unpriced_calls=int(place >= first and costs[place - first] is None),
            cost_pusd=costs[place - first] if place >= first else None,
        )
        for place in range(MINUTES)
    )


def overview(**changes: Any) -> Overview:
    made = Overview(
        at_s=AT_S,
        window="1h",
        since_s=AT_S // 60 * 60 - 59 * 60,
        total=total(line.figures for line in LINES),
        today=Figures(calls=900, input_tokens=5, output_tokens=6, cost_pusd=12 * USD),
        month=Figures(calls=12_345, errors=1, input_tokens=12_345_678, output_tokens=6, cost_pusd=345 * USD),
        outlook=Outlook(low_pusd=500 * USD, middle_pusd=600 * USD, high_pusd=700 * USD),
        minutes=minutes(USD // 10, None, USD // 50),
        lines=LINES,
        lines_left_out=0,
        left_out=Figures(),
        budgets=(BUDGET,),
        budgets_left_out=0,
        groups=(BudgetGroups(name="each-user", per=("user",), groups=12, over=1),),
        calls=(CALL, UNPRICED, FAILED),
    )
    return replace(made, **changes)


# Whatever a sender may have put into a name: escape sequences, markup, wide and combining characters, any direction.
HOSTILE = (
    "\x1b[2J\x1b[31mred\x07",
    "[bold red]markup[/] [link=file:///]",
    "a\nb\rc\td\x08e",
    "\u202egpt\u2066-4o\u200b",
    "模型" * 200,
    "e\u0301\u0302\u0303" * 100,
    "👩\u200d👩\u200d👧 \ufe0f🇩🇪",
    "\x9b31m\x90q\x9c",
    "x" * 5000,
    "",
)
names = st.one_of(st.text(max_size=30), st.sampled_from(HOSTILE))
_counts = st.integers(0, 10**15)
_maybe = st.none() | _counts
_times = st.integers(0, 4 * 10**9)
_figures = st.builds(
    Figures,
    calls=_counts, errors=_counts, unpriced_calls=_counts, unreported_calls=_counts, input_tokens=_maybe,
    output_tokens=_maybe, cost_pusd=st.none() | st.integers(-(10**10), 10**25),
)  # fmt: skip
_budgets = st.builds(
    BudgetLine, name=names, group=names, mode=st.sampled_from(["soft", "hard"]), limit=_counts, spent=_counts,
    expected=_maybe, thresholds=st.lists(st.integers(1, 1000), max_size=3).map(tuple), unpriced_calls=_counts,
    unit=st.sampled_from(["micro_usd", "tokens", "calls"]), start_s=_times, end_s=_times, run_out_s=st.none() | _times,
)  # fmt: skip
_calls = st.builds(
    Call, entry_id=_counts, end_s=_times, duration_ms=st.integers(-5, 10**12), service=names, provider=names,
    model=names, operation=names, outcome=st.sampled_from(["ok", "error"]), error_type=st.none() | names,
    input_tokens=_maybe, output_tokens=_maybe, usage_status=names, price_status=st.sampled_from(["priced", "unpriced"]),
    price_reason=st.none() | names, cost_pusd=_maybe,
)  # fmt: skip
_lines = st.builds(Line, service=names, provider=names, model=names, figures=_figures)
overviews = st.builds(
    overview,
    at_s=_times,
    window=st.sampled_from(["15m", "1h", "24h", "month"]),
    total=_figures,
    today=_figures,
    month=_figures,
    outlook=st.none() | st.builds(Outlook, low_pusd=_counts, middle_pusd=_counts, high_pusd=_counts),
    minutes=st.lists(st.none() | _counts, max_size=MINUTES).map(lambda costs: minutes(*costs)),
    lines=st.lists(_lines, max_size=6).map(tuple),
    lines_left_out=_counts,
    left_out=_figures,
    budgets=st.lists(_budgets, max_size=4).map(tuple),
    budgets_left_out=_counts,
    groups=st.lists(
        st.builds(BudgetGroups, name=names, per=st.lists(names, max_size=2).map(tuple), groups=_counts, over=_counts),
        max_size=3,
    ).map(tuple),
    calls=st.lists(_calls, max_size=5).map(tuple),
)
