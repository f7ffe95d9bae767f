"""Why a call is refused -> the answer that the app gets in place of the provider's, in the provider's own shape.

Every SDK makes of it the error that it makes of any refusal, and does not try again: a status that none retries, and a
header that says so to those that would.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spanledger_instrumentation.wallet import Denial

__all__ = [
    "ERROR_TYPE",
    "NOTICE",
    "REASON",
    "STATUS_CODE",
    "BudgetExceededError",
    "Refusal",
    "amount_text",
    "refusal_of",
]

ERROR_TYPE: Final = "budget_exceeded"
STATUS_CODE: Final = 402
"""Payment Required. Not 429, 408, 409 or 5xx, which SDKs retry."""
REASON: Final = "Payment Required"
NOTICE: Final = "x-spanledger-budget"
"""Names the budget that a call was refused by; on an answer, the soft budgets that are near their limits."""
_MICRO_PER_UNIT: Final = 10**6


class BudgetExceededError(Exception):
    """Raised in place of an answer where the app's client offers no way to make one.

    It is no exception of any HTTP client, so that none takes it for a failed connection, and retries.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer that no provider gave."""

    message: str
    budget: str
    content: bytes
    headers: Mapping[str, str]

    def error(self) -> BudgetExceededError:
        """Give it as an exception."""
        return BudgetExceededError(self.message)


def refusal_of(denial: Denial, provider: str, wire_owner: str) -> Refusal:
    """Make the answer to a call of this provider, in this owner's wire format."""
    message = _message(denial)
    shape = _mistral if provider == "mistral_ai" else _SHAPES.get(wire_owner, _openai)
    content = json.dumps(shape(message), ensure_ascii=True).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        "x-should-retry": "false",
        NOTICE: denial.budget.encode("ascii", "replace").decode(),
    }
    if wire_owner == "aws.bedrock":
        headers["x-amzn-errortype"] = "BudgetExceededException"
    return Refusal(message=message, budget=denial.budget, content=content, headers=headers)


def amount_text(unit: str, amount: int) -> str:
    """Write an amount for people: `12.50 USD`, `1,000 tokens`."""
    if unit != "usd":
        return f"{amount:,} {unit}"
    dollars, micro = divmod(abs(amount), _MICRO_PER_UNIT)
    decimals = f"{micro:06}".rstrip("0").ljust(2, "0")
    return f"{'-' if amount < 0 else ''}{dollars:,}.{decimals} USD"


def _message(denial: Denial) -> str:
    if denial.reason == "nothing_known":
        return (
            "No call passes while Spanledger's exporter cannot be reached, and no budget is known."
            " The call was refused by Spanledger and never sent."
        )
    name = f'"{denial.budget}"' + (f" ({denial.group})" if denial.group not in ("", "[]") else "")
    limit, ends = amount_text(denial.unit, denial.limit), _moment(denial.period_end_s)
    why = _WHY.get(denial.reason, _exhausted)(denial, name, limit)
    return f"{why} The budget's period ends at {ends}. The call was refused by Spanledger and never sent."


def _exhausted(denial: Denial, name: str, limit: str) -> str:
    spent = amount_text(denial.unit, denial.spent)
    held = f", {amount_text(denial.unit, denial.leased)} reserved for other calls" if denial.leased else ""
    this = f", and this call may need up to {amount_text(denial.unit, denial.need)}" if denial.need else ""
    return f"Budget {name} has too little left: its limit is {limit}, {spent} are spent{held}{this}."


def _unpriced(_: Denial, name: str, limit: str) -> str:
    return f"Budget {name} with a limit of {limit} lets no model pass whose price is not known, as that of this call."


def _unreachable(_: Denial, name: str, limit: str) -> str:
    return f"Budget {name} with a limit of {limit} lets no call pass while Spanledger's exporter cannot be reached."


def _allowance(_: Denial, name: str, limit: str) -> str:
    return (
        f"Budget {name} with a limit of {limit} has no more left of what it allows while Spanledger's exporter cannot"
        " be reached."
    )


def _crowded(_: Denial, name: str, limit: str) -> str:
    return (
        f"Budget {name} with a limit of {limit} is counted apart for so many at once who have not called yet that there"
        " is no room for another."
    )


_WHY: Final[Mapping[str, Callable[[Denial, str, str], str]]] = {
    "unpriced_model": _unpriced,
    "too_many_groups": _crowded,
    "unreachable": _unreachable,
    "allowance": _allowance,
}


def _moment(seconds: int) -> str:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "no time that is known"


# The shapes: those of the SDKs openai 3.54, anthropic 2.12, google-genai 3.4, mistralai 3.7, cohere 7.3, ollama 0.6 and
# botocore 1.44, as the `read_error` of each wire format has them.


def _openai(message: str) -> Any:
    return {"error": {"message": message, "type": ERROR_TYPE, "param": None, "code": ERROR_TYPE}}


def _anthropic(message: str) -> Any:
    return {"type": "error", "error": {"type": "billing_error", "message": message}, "request_id": None}


def _google(message: str) -> Any:
    return {"error": {"code": STATUS_CODE, "message": message, "status": "RESOURCE_EXHAUSTED"}}


def _mistral(message: str) -> Any:
    return {"object": "error", "message": message, "type": ERROR_TYPE, "param": None, "code": ERROR_TYPE}


def _cohere(message: str) -> Any:
    return {"message": message}


def _ollama(message: str) -> Any:
    return {"error": message}


_SHAPES: Final[Mapping[str, Callable[[str], Any]]] = {
    "anthropic": _anthropic,
    "gcp.gemini": _google,
    "gcp.vertex_ai": _google,
    "mistral_ai": _mistral,
    "cohere": _cohere,
    "ollama": _ollama,
    "aws.bedrock": _cohere,  # {"message"}, too; the code is a header
}
