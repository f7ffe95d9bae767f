"""Parts of the queries of the dashboard Ledger: what is known, what is chosen, and how the views have it."""

from typing import Final

from dashboards.boards import variables

MODEL: Final = "coalesce(response_model, request_model, '')"
DIMENSIONS: Final = ("service", "environment", "team", "project", "provider", "model")
COST_USD: Final = "sum(cost_pusd) / 1e12"
# What is not known of any call is no 0: the sum of no rows is none.
KNOWN_USD: Final = "FILTER (WHERE price_status IN ('priced', 'free'))"
KNOWN_TOKENS: Final = "FILTER (WHERE usage_status IN ('reported', 'partial'))"
ALL_TOKENS: Final = "sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0))"
ROLLED_USD: Final = f"(sum(cost_micro_usd) {KNOWN_USD} + sum(cost_rest_pusd) {KNOWN_USD} / 1e6) / 1e6"
ROLLED_TOKENS: Final = f"sum(input_tokens) {KNOWN_TOKENS} AS input, sum(output_tokens) {KNOWN_TOKENS} AS output"
# A text: as a time, the day would be shown in the reader's time zone, west of UTC as the day before.
DAY: Final = "to_char(to_timestamp(day_s) AT TIME ZONE 'UTC', 'YYYY-MM-DD')"
# The values of a JSON array; what PostgreSQL takes for no text stays as it is.
GROUP: Final = (
    "CASE WHEN group_key LIKE '[%' AND position('\\u0000' IN group_key) = 0\n"
    "    THEN array_to_string(ARRAY(SELECT json_array_elements_text(group_key::json)), ', ', 'not said')\n"
    "    ELSE group_key END"
)
BUDGET_USD: Final = "(cost_micro_usd + cost_rest_pusd / 1e6) / 1e6"


def _chosen(columns: dict[str, str]) -> str:
    """Return the conditions of the variables: any of what is chosen, or all."""

    def condition(name: str, column: str) -> str:
        chosen = f"(${{{name}:sqlstring}})"
        return f"  AND ({variables.ALL_IN_SQL} IN {chosen} OR coalesce({column}, '') IN {chosen})"

    return "\n".join(condition(name, column) for name, column in columns.items())


OF_ENTRIES: Final = (
    "FROM entries\nWHERE $__unixEpochNanoFilter(end_ns)\n"
    + _chosen({name: MODEL if name == "model" else name for name in DIMENSIONS})
    + "\n  AND (${user:sqlstring} = '' OR user_id = ${user:sqlstring})"
    + "\n  AND (${session:sqlstring} = '' OR session_id = ${session:sqlstring})"
)
OF_HOURS: Final = "FROM spend_hours\nWHERE $__unixEpochFilter(hour_s)\n" + _chosen({name: name for name in DIMENSIONS})
OF_DAYS: Final = "FROM spend_days\nWHERE $__unixEpochFilter(day_s)\n" + _chosen({name: name for name in DIMENSIONS})
