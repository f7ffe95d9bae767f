"""Budgets -> the rules that watch them: thresholds, burn rates, forecast, run-out.

The rules are written for one budget, or for any: then what depends on the length of a period asks the metrics for it.
Every replica of the exporter shows the same state of a budget, from the database. One that cannot look goes on showing
what it knew: so the rules take the largest, and of the times at which budgets run out the earliest.

Units: burn rates are multiples of the pace at which the limit lasts exactly as long as the period.
"""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

from spanledger_exporter.alerts.rules import BUDGET, Alert, Group, Recording, Severity, expression, literal
from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD, THRESHOLDS, UNIT_NAMES, UNITS, Budget
from spanledger_exporter.budgets.periods import Period

HOUR_S: Final = 3600
DAY_S: Final = 86_400
FLOOR_USD: Final = 1.0
WINDOWS_S: Final = {
    "5m": 300,
    "15m": 900,
    "30m": 1800,
    "1h": HOUR_S,
    "2h": 2 * HOUR_S,
    "6h": 6 * HOUR_S,
    "1d": DAY_S,
    "3d": 3 * DAY_S,
}
# The state of a budget is taken from the last ten minutes: while the exporter is started anew there is none, and an
# alert must neither end nor be told a second time. What belongs to a period that is over is passed over.
_BRIDGE: Final = "10m"
_KEEP: Final = "15m"
_BY: Final = "(budget, group)"
_USED: Final = "budget_group:genai_budget_used:ratio"
_LENGTH: Final = "budget_group:genai_budget_period:seconds"
_BURN: Final = "budget_group:genai_budget_burn:rate{window}"
_NOMINAL_S: Final = {
    "hour": HOUR_S,
    "day": DAY_S,
    "week": 7 * DAY_S,
    "month": 30 * DAY_S,
    "quarter": 91 * DAY_S,
    "year": 365 * DAY_S,
}


class Burn(NamedTuple):
    """So much of the limit spent within the long window, and still at that pace in the short one."""

    share: float
    long: str
    short: str


class Length(NamedTuple):
    """What is asked of budgets whose periods are of about one length, from `least_s` to before `below_s`."""

    least_s: int
    below_s: int | None
    fast: tuple[Burn, ...]
    slow: tuple[Burn, ...]


# Of a month these are the pairs of Google's SRE workbook, chapter 5: 14.4 and 6 times the even pace page, 3 times is a
# ticket. Its last pair, the even pace over three days, is no trouble for money: that is what the limit is for. Other
# lengths have shares of their own, since 2 % of a day's budget in an hour is half of the even pace. Periods that are
# shorter than half a day have thresholds only: a burst of calls is all that there would be to see.
LENGTHS: Final = (
    Length(12 * HOUR_S, 4 * DAY_S, (Burn(0.1, "15m", "5m"),), (Burn(0.25, "2h", "15m"),)),
    Length(4 * DAY_S, 20 * DAY_S, (Burn(0.05, "1h", "5m"),), (Burn(0.15, "6h", "30m"),)),
    Length(20 * DAY_S, 60 * DAY_S, (Burn(0.02, "1h", "5m"), Burn(0.05, "6h", "30m")), (Burn(0.1, "1d", "2h"),)),
    Length(60 * DAY_S, 200 * DAY_S, (Burn(0.02, "6h", "30m"),), (Burn(0.05, "1d", "2h"),)),
    Length(200 * DAY_S, None, (Burn(0.02, "1d", "2h"),), (Burn(0.05, "3d", "6h"),)),
)


class _Watched(NamedTuple):
    """One budget, or any: what its rules ask for."""

    name: str | None
    units: Sequence[str]
    lengths: Sequence[Length]
    floor_usd: float
    said: str

    def of(self, metric: str, *matchers: str) -> str:
        """Return a metric of it."""
        named = () if self.name is None else (f'budget="{self.name}"',)
        found = ", ".join((*named, *matchers))
        return f"{metric}{{{found}}}" if found else metric

    @property
    def labels(self) -> dict[str, str]:
        """What its rules say in labels. No two rules of one name may have the same ones."""
        return {} if self.name is None else {"budget": self.name}

    def long_enough(self, length: Length) -> str:
        """Return the length of its periods, where it is of these lengths."""
        seconds = self.of(_LENGTH)
        if self.name is not None:
            return seconds
        return f"({seconds} >= {length.least_s}{'' if length.below_s is None else f' < {length.below_s}'})"


def any_budget(prefix: str, floor_usd: float = FLOOR_USD) -> list[Group]:
    """Return rules for whatever budgets there are, with the usual thresholds."""
    watched = _Watched(None, UNITS, LENGTHS, floor_usd, "")
    rules = (
        *_recordings(watched),
        *_thresholds(watched, THRESHOLDS),
        *_groups_over(watched, THRESHOLDS),
        *_burns(watched),
        *_forecasts(watched),
        *_run_outs(watched, None),
    )
    return [Group(f"{prefix}-budgets", rules)]


def each_budget(budgets: Sequence[Budget], prefix: str, floor_usd: float = FLOOR_USD) -> list[Group]:
    """Return rules for these budgets: to each its thresholds, its unit, and windows that fit its period."""
    return [
        Group(f"{prefix}-budget-{budget.name}", tuple(_rules_of(budget, floor_usd)))
        for budget in sorted(budgets, key=lambda budget: budget.name)
    ]


def _rules_of(budget: Budget, floor_usd: float) -> Iterator[Recording | Alert]:
    nominal_s = _nominal_s(budget.period)
    lengths = [each for each in LENGTHS if each.least_s <= nominal_s < (each.below_s or nominal_s + 1)]
    watched = _Watched(budget.name, (budget.unit,), lengths, floor_usd, f" {literal(_said(budget))}")
    if budget.private:  # of its values nothing is shown but how many are beyond
        yield from _groups_over(watched, budget.thresholds)
        return
    yield from _recordings(watched)
    yield from _thresholds(watched, budget.thresholds)
    yield from _burns(watched)
    yield from _forecasts(watched)
    yield from _run_outs(watched, budget.mode)


def _recordings(watched: _Watched) -> Iterator[Recording]:
    state, ends = watched.of("genai_budget_used_ratio"), watched.of("genai_budget_period_end_timestamp_seconds")
    yield Recording(
        _USED,
        expression(f"""
            max by {_BY} (
              last_over_time({state}[{_BRIDGE}])
              and on (job, instance, budget, group) last_over_time({ends}[{_BRIDGE}]) > time()
            )
        """),
        watched.labels,
    )
    starts = watched.of("genai_budget_period_start_timestamp_seconds")
    yield Recording(_LENGTH, f"max by {_BY} ({ends} - {starts})", watched.labels)
    needed = {name for each in watched.lengths for burn in (*each.fast, *each.slow) for name in (burn.long, burn.short)}
    for window in (name for name in WINDOWS_S if name in needed):
        shares = "\n  or\n  ".join(_share(watched, unit, window) for unit in watched.units)
        burn = f"(\n  {shares}\n)\n* on {_BY} {watched.of(_LENGTH)}"
        yield Recording(_BURN.format(window=window), burn, watched.labels)


def _share(watched: _Watched, unit: str, window: str) -> str:
    """Return the part of its limit that a budget spends in a second. A limit of 0 has no parts."""
    spend, limit = watched.of(f"genai_budget_spend_{unit}_total"), watched.of(f"genai_budget_limit_{unit}")
    return f"max by {_BY} (rate({spend}[{window}])) / on {_BY} (max by {_BY} ({limit}) > 0)"


def _thresholds(watched: _Watched, percents: Sequence[int]) -> Iterator[Alert]:
    """Return an alert for each threshold. Their ranges exclude one another, so that one at a time is true."""
    ascending = sorted(set(percents))
    for percent, above in zip(ascending, [*ascending, None][1:], strict=True):
        upper = "" if above is None else f" < {above / 100:g}"
        yield Alert(
            name="SpanledgerBudgetThreshold",
            expr=f"{watched.of(_USED)} >= {percent / 100:g}{upper}",
            severity=_severity(percent, ascending),
            labels={"threshold": str(percent), **watched.labels},
            summary=f"{BUDGET} is at {{{{ $value | humanizePercentage }}}} of its limit",
            description=f"What was spent in this period has reached {percent} % of the limit.{watched.said}",
            dashboard="budgets",
        )


def _severity(percent: int, ascending: Sequence[int]) -> Severity:
    if percent >= 100:
        return "critical"
    return "warning" if percent == max(each for each in ascending if each < 100) else "info"


def _groups_over(watched: _Watched, percents: Sequence[int]) -> Iterator[Alert]:
    """Return alerts for budgets of which only the number of values beyond a threshold is shown."""
    shown = "" if watched.name else f"\nunless on (budget) {_USED}"
    ascending = sorted(set(percents))
    for percent, above in zip(ascending, [*ascending, None][1:], strict=True):
        severity = _severity(percent, ascending)
        if severity == "info":  # that some of many users have used a part of their limit is no news
            continue
        beyond = "" if above is None else f" - {_groups(watched, above)}"
        yield Alert(
            name="SpanledgerBudgetGroupsOver",
            expr=f"{_groups(watched, percent)}{beyond} > 0{shown}",
            severity="warning" if severity == "critical" else "info",
            labels={"threshold": str(percent), **watched.labels},
            summary=f"{{{{ $value }}}} of those that budget {{{{ $labels.budget }}}} is per are at {percent} % or more",
            description="It is per user, session or key, whose names are no labels: `spanledger budgets show` has them."
            + watched.said,
            dashboard="budgets",
        )


def _groups(watched: _Watched, percent: int) -> str:
    at_least = f'at_least="{percent}"'
    return f"max by (budget) ({watched.of('genai_budget_groups', at_least)})"


def _burns(watched: _Watched) -> Iterator[Alert]:
    rows: tuple[tuple[Severity, str, str, str], ...] = (
        ("critical", "SpanledgerBudgetBurnFast", "fast", "2m"),
        ("warning", "SpanledgerBudgetBurnSlow", "slow", "15m"),
    )
    for severity, name, kind, hold in rows:
        burns = [(each, burn) for each in watched.lengths for burn in (each.fast if kind == "fast" else each.slow)]
        if not burns:
            continue
        yield Alert(
            name=name,
            expr="\nor\n".join(_burn(watched, length, burn) for length, burn in burns),
            severity=severity,
            hold=hold,
            keep=_KEEP,
            labels=watched.labels,
            summary=f"{BUDGET} is being spent at {{{{ $value | humanize }}}} times the pace at which it lasts",
            description=f"{_burning(burns)} This is a pace, not a total: the budget may be far from its limit yet."
            + watched.said,
            dashboard="budgets",
        )


def _burn(watched: _Watched, length: Length, burn: Burn) -> str:
    pace = f"{burn.share:g} / {WINDOWS_S[burn.long]} * {watched.long_enough(length)}"
    faster = [f"{watched.of(_BURN.format(window=window))} > on {_BY} ({pace})" for window in (burn.long, burn.short)]
    floor = ""
    if "usd" in watched.units and watched.floor_usd:
        spend = watched.of("genai_budget_spend_usd_total")
        floor = f"\n  unless on {_BY} max by {_BY} (increase({spend}[{burn.long}])) < {watched.floor_usd:g}"
    return "(\n  " + f"\n  and on {_BY} ".join(faster) + floor + "\n)"


def _burning(burns: Sequence[tuple[Length, Burn]]) -> str:
    if len({length for length, _ in burns}) == 1:
        asked = " or ".join(f"{burn.share:.0%} of the limit within {burn.long}".replace("%", " %") for _, burn in burns)
        return f"At least {asked}, and it goes on."
    return "A large part of the limit was spent within a short time for the length of its period, and it goes on."


def _forecasts(watched: _Watched) -> Iterator[Alert]:
    if not watched.lengths:
        return
    forecast = watched.of("genai_budget_forecast_ratio", 'quantile="0.5"')
    fitting = "" if watched.name else f"\nand on {_BY} {_LENGTH} >= {LENGTHS[0].least_s}"
    yield Alert(
        name="SpanledgerBudgetForecastOver",
        expr=f"max by {_BY} ({forecast}) > 1\nand on {_BY} {watched.of(_USED)} < 1{fitting}",
        severity="warning",
        hold="30m",
        keep=_KEEP,
        labels=watched.labels,
        summary=f"{BUDGET} will be at {{{{ $value | humanizePercentage }}}} of its limit when its period ends",
        description="So says the forecast's middle: as likely as not it will be more." + watched.said,
        dashboard="budgets",
    )


def _run_outs(watched: _Watched, mode: Literal["soft", "hard"] | None) -> Iterator[Alert]:
    """Return alerts for what runs out within a day, or a tenth of its period if that is less."""
    if not watched.lengths:
        return
    state, end = (watched.of(f"genai_budget_{name}_timestamp_seconds") for name in ("run_out", "period_end"))
    # What belongs to a period that is over is passed over: its time is before that of the one that runs.
    run_out = f"min by {_BY} ({state} and on (job, instance, budget, group) {end} > time())"
    ends = f"max by {_BY} ({end})"
    hard = 'max by (budget) (genai_budget_mode_info{mode="hard"}) == 1'
    modes: dict[str, tuple[Severity, str, str]] = {
        "hard": ("critical", f"\nand on (budget) {hard}", "Its calls are then refused."),
        "soft": ("warning", f"\nunless on (budget) {hard}", "Its calls pass all the same."),
    }
    length = watched.of(_LENGTH) if watched.name else f"({_LENGTH} >= {LENGTHS[0].least_s})"
    for severity, of_mode, then in modes.values() if mode is None else (modes[mode],):
        yield Alert(
            name="SpanledgerBudgetRunOutSoon",
            expr=f"{run_out} - time() < on {_BY} clamp_max({length} / 10, {DAY_S})\n"
            f"and on {_BY} {run_out} < on {_BY} {ends}\n"
            f"and on {_BY} {watched.of(_USED)} < 1{'' if watched.name else of_mode}",
            severity=severity,
            hold="5m",
            keep=_KEEP,
            labels=watched.labels,
            summary=f"{BUDGET} runs out in {{{{ $value | humanizeDuration }}}}",
            description=f"At its present pace it is used up before its period ends. {then}{watched.said}",
            dashboard="budgets",
        )


def _nominal_s(period: Period) -> int:
    match period.kind:
        case "days":
            return period.days * DAY_S
        case "range":
            return 0 if period.since is None or period.until is None else (period.until - period.since).days * DAY_S
        case _:
            return _NOMINAL_S[period.kind]


def _said(budget: Budget) -> str:
    """Return what a budget is, in a sentence."""
    amount = budget.limit / MICRO_USD_PER_USD if budget.unit == "usd" else budget.limit
    number = f"{amount:,.2f}".removesuffix(".00") if budget.unit == "usd" else f"{amount:,}"
    period = budget.period
    match period.kind:
        case "days":
            each = "day" if period.days == 1 else f"{period.days} days"
            time = f"every {each}"
        case "range":
            time = f"from {period.since} to before {period.until}"
        case _:
            time = f"a {period.kind}" if period.kind != "hour" else "an hour"
    per = f" for each {' and '.join(budget.per)}" if budget.per else ""
    rest = ", and what the period before left" if budget.rollover else ""
    said = f"Its limit: {number} {UNIT_NAMES[budget.unit]} {time} ({period.timezone}){per}{rest}; {budget.mode}."
    return f"{said} {budget.description}".rstrip()
