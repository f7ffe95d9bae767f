"""How wrong forecasts of a month's end are, and which days are taken for anomalies, beside simpler rules.

    .venv/bin/python bench/forecast.py [--json] [--series 200]

The days are made up: a level of its own for each series, weekends at a fifth to three fifths of a weekday, growth from
-10 to +30 % a month, and 18 % of noise from day to day. The seed is fixed: the same figures come out everywhere.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import NamedTuple

from spanledger_exporter.budgets.anomalies import judge
from spanledger_exporter.budgets.forecast import Ahead, Forecast, Stretch, expect, expect_hour, forecast

DAY_S = 86_400
HOUR_S = 3600
NOISE = 0.18
MONTH = 30
BEFORE = 63  # whole days before the month
SEED = 7
Rule = Callable[[Sequence[int], int], float]


class Errors(NamedTuple):
    """How far rules were from the truth at a day or a minute, in percent, and how often it lay in our range."""

    at: int
    error_percent: dict[str, float]
    in_range_percent: dict[str, int]


class Series(NamedTuple):
    """The days of one budget; the month begins at `BEFORE`."""

    days: list[Stretch]

    def amounts(self) -> list[int]:
        """Return what each day came to."""
        return [day.amount for day in self.days]


def series(chance: random.Random, days: int = BEFORE + MONTH) -> Series:
    """Make the days of one budget up."""
    level = 10 ** chance.uniform(6, 9)
    weekend, growth = chance.uniform(0.2, 0.6), (1 + chance.uniform(-0.1, 0.3)) ** (1 / MONTH)
    first, weekdays = chance.randrange(7), [chance.uniform(0.9, 1.1) for _ in range(5)]
    shares = [*weekdays, weekend, weekend]
    found: list[Stretch] = []
    for number in range(days):
        weekday = (first + number) % 7
        noise = math.exp(chance.gauss(-NOISE * NOISE / 2, NOISE))
        amount = round(level * growth**number * shares[weekday] * noise)
        found.append(Stretch(number * DAY_S, (number + 1) * DAY_S, amount, weekday + 1))
    return Series(found)


# -- the end of a month ------------------------------------------------------------------------------------------------


def _to_date(amounts: Sequence[int], day: int) -> float:
    return fmean(amounts[BEFORE : BEFORE + day])


def _last_day(amounts: Sequence[int], day: int) -> float:
    return amounts[BEFORE + day - 1]


def _trailing(amounts: Sequence[int], day: int) -> float:
    return fmean(amounts[BEFORE + day - 7 : BEFORE + day])


SIMPLER: dict[str, Rule] = {"month to date": _to_date, "last day": _last_day, "last 7 days": _trailing}


def holt_winters(amounts: Sequence[int], ahead: int) -> float:
    """Return the sum of the next days by additive Holt-Winters with a season of seven and fixed weights."""
    alpha, beta, gamma = 0.3, 0.05, 0.2
    level, trend = fmean(amounts[:7]), 0.0
    season = [amount - level for amount in amounts[:7]]
    for place in range(7, len(amounts)):
        before = level
        level = alpha * (amounts[place] - season[place % 7]) + (1 - alpha) * (level + trend)
        trend = beta * (level - before) + (1 - beta) * trend
        season[place % 7] = gamma * (amounts[place] - level) + (1 - gamma) * season[place % 7]
    return sum(level + step * trend + season[(len(amounts) + step - 1) % 7] for step in range(1, ahead + 1))


def ours(made: Series, day: int, known: int) -> Forecast:
    """Return our forecast on the evening of a day of the month, when `known` days before the month are known."""
    history = made.days[BEFORE - known : BEFORE + day]
    spent = sum(each.amount for each in made.days[BEFORE : BEFORE + day])
    now_s = history[-1].end_s
    ahead = [Ahead(each.start_s, each.end_s, 1.0, each.weekday) for each in made.days[BEFORE + day :]]
    return forecast(spent, expect(history, Stretch(now_s, now_s, 0)), ahead)


def month_ends(all_series: Sequence[Series]) -> list[Errors]:
    """Return the mean absolute error of each rule, in percent, and how often the truth lies in our range."""
    found: list[Errors] = []
    for day in (3, 10, 20):
        errors: dict[str, list[float]] = {}
        inside: dict[str, list[bool]] = {}
        for made in all_series:
            amounts = made.amounts()
            truth, spent = sum(amounts[BEFORE:]), sum(amounts[BEFORE : BEFORE + day])
            said = {name: spent + rule(amounts, day) * (MONTH - day) for name, rule in SIMPLER.items()}
            said["Holt-Winters"] = spent + holt_winters(amounts[: BEFORE + day], MONTH - day)
            for name, known in (("ours", BEFORE), ("ours, new budget", 0)):
                made_by_us = ours(made, day, known)
                said[name] = made_by_us.middle
                inside.setdefault(name, []).append(made_by_us.low <= truth <= made_by_us.high)
            for name, end in said.items():
                errors.setdefault(name, []).append(abs(end - truth) / truth * 100)
        found.append(Errors(day, _means(errors), _shares(inside)))
    return found


def _means(errors: dict[str, list[float]]) -> dict[str, float]:
    return {name: round(fmean(each), 1) for name, each in errors.items()}


def _shares(inside: dict[str, list[bool]]) -> dict[str, int]:
    return {name: round(fmean(each) * 100) for name, each in inside.items()}


# -- the end of an hour ------------------------------------------------------------------------------------------------

_SHAPE = [0.1] * 7 + [0.4, 0.8, 1.2, 1.4, 1.4, 1.2, 1.3, 1.5, 1.4, 1.2, 0.9, 0.6, 0.4, 0.3, 0.2, 0.2, 0.1]


def hour_ends(chance: random.Random, number: int) -> list[Errors]:
    """Return the mean absolute error in percent of rules for what is ahead of an hour, after a part of it."""
    found: list[Errors] = []
    days = [[level * _SHAPE[quarter // 4 % 24] * math.exp(chance.gauss(0, 0.3)) for quarter in range(4 * 72)]
            for level in (10 ** chance.uniform(6, 9) for _ in range(number))]  # fmt: skip
    for quarters_gone in (1, 2, 3):
        errors: dict[str, list[float]] = {}
        inside: list[bool] = []
        for quarters in days:
            hours = [sum(quarters[place : place + 4]) for place in range(0, len(quarters), 4)]
            for hour in range(54, 66):
                spent, truth = sum(quarters[hour * 4 : hour * 4 + quarters_gone]), hours[hour]
                elapsed = quarters_gone / 4
                rates = {"as it began": spent / elapsed, "last hour": hours[hour - 1]}
                rates |= {f"last {n} hours": fmean(hours[hour - n : hour]) for n in (3, 7)}
                said = {name: spent + rate * (1 - elapsed) for name, rate in rates.items()}
                made = _hour_forecast(hours[hour - 8 : hour], spent, elapsed)
                said["ours"] = made.middle
                inside.append(made.low <= truth <= made.high)
                for name, end in said.items():
                    errors.setdefault(name, []).append(abs(end - truth) / truth * 100)
        found.append(Errors(quarters_gone * 15, _means(errors), _shares({"ours": inside})))
    return found


def _hour_forecast(before: Sequence[float], spent: float, elapsed: float) -> Forecast:
    history = [Stretch(place * HOUR_S, (place + 1) * HOUR_S, round(amount)) for place, amount in enumerate(before)]
    start_s, now_s = history[-1].end_s, history[-1].end_s + round(HOUR_S * elapsed)
    expected = expect_hour(history, Stretch(start_s, now_s, round(spent)), whole_s=HOUR_S)
    return forecast(round(spent), expected, [Ahead(now_s, start_s + HOUR_S, 1 - elapsed)])


# -- anomalies ---------------------------------------------------------------------------------------------------------


def _three_times_mean(days: Sequence[Stretch], place: int) -> bool:
    return days[place].amount > 3 * fmean(day.amount for day in days[place - 7 : place])


def _deviates(amounts: Sequence[int], amount: int) -> bool:
    middle = median(amounts)
    deviation = 1.4826 * median(abs(each - middle) for each in amounts)
    return deviation > 0 and (amount - middle) / deviation > 4


def _month_deviation(days: Sequence[Stretch], place: int) -> bool:
    return _deviates([day.amount for day in days[place - 28 : place]], days[place].amount)


def _weekday_deviation(days: Sequence[Stretch], place: int) -> bool:
    return _deviates([days[place - 7 * week].amount for week in range(1, 9)], days[place].amount)


def _ours(days: Sequence[Stretch], place: int) -> bool:
    found = judge(days[max(0, place - 63) : place], days[place], floor=0)
    return found is not None and found.anomalous


def _ours_after_five_weeks(days: Sequence[Stretch], place: int) -> bool:
    found = judge(days[max(0, place - 36) : place], days[place], floor=0)
    return found is not None and found.anomalous


RULES: dict[str, Callable[[Sequence[Stretch], int], bool]] = {
    "3 x mean of 7 days": _three_times_mean,
    "deviation from 28 days": _month_deviation,
    "deviation from the weekday": _weekday_deviation,
    "ours": _ours,
    "ours, after five weeks": _ours_after_five_weeks,
}


def anomalies(all_series: Sequence[Series]) -> dict[str, dict[str, float]]:
    """Return how many of the days that were tripled each rule finds, and of how many others it says so."""
    found: dict[str, dict[str, float]] = {}
    for name, rule in RULES.items():
        hits, alarms, quiet = 0, 0, 0
        for number, made in enumerate(all_series):
            injected = BEFORE + number % MONTH
            days = list(made.days)
            alarms += sum(rule(days, place) for place in range(BEFORE, len(days)))
            quiet += len(days) - BEFORE
            days[injected] = days[injected]._replace(amount=3 * days[injected].amount)
            hits += rule(days, injected)
        found[name] = {
            "found_percent": round(hits / len(all_series) * 100, 1),
            "false_alarms_in_100_days": round(alarms / quiet * 100, 2),
        }
    return found


def main() -> int:
    """Measure, and print tables or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--series", type=int, default=200, help="how many series (default 200)")
    arguments = parser.parse_args()
    chance = random.Random(SEED)
    made = [series(chance) for _ in range(arguments.series)]
    months, hours, days = month_ends(made), hour_ends(chance, arguments.series), anomalies(made)
    if arguments.json:
        of_months, of_hours = ([each._asdict() for each in errors] for errors in (months, hours))
        print(json.dumps({"month_end": of_months, "hour_end": of_hours, "anomaly": days}))
        return 0
    for title, errors, unit in (("a month", months, "day"), ("an hour", hours, "minute")):
        print(f"the end of {title}: mean absolute error in percent; in brackets how often the truth lies in our range")
        for at, error_percent, in_range_percent in errors:
            said = (f"{name} {error}" for name, error in error_percent.items())
            inside = (f"{name} {percent}" for name, percent in in_range_percent.items())
            print(f"{unit} {at:2}: {', '.join(said)} ({', '.join(inside)})")
    print("days that come to three times as much, and false alarms in 100 other days")
    for name, figures in days.items():
        print(f"{name:26} {figures['found_percent']:5} % found, {figures['false_alarms_in_100_days']} false alarms")
    return 0


if __name__ == "__main__":
    sys.exit(main())
