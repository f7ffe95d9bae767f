"""A user's own prices over the price list: negotiated overrides, models of their own, and names of deployments.

They are part of the price book's document, so that its id covers them and an entry that they priced can be replayed.
`price_file.py` reads them from TOML.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from spanledger_exporter.prices.conditions import When, holds
from spanledger_exporter.prices.names import BOOK_PROVIDERS
from spanledger_exporter.records import Profile

# The members of an override that name who pays, each a field of `Profile`.
ACCOUNT_FIELDS = ("organization", "provider_project", "api_key_hash", "project")
LAYERS = ("overrides", "models", "deployments")


class Override:
    """One negotiated price.

    Shape: `{"name", "provider"?, "model"?, "organization"?, "provider_project"?, "api_key_hash"?, "project"?, "tier"?,
    "when"?, "multiplier": "0.85" | "prices": {key: price}}`; `model` may have * for any characters.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.name: str = document["name"]
        self.when: When | None = document.get("when")
        self.tier: str | None = document.get("tier")
        self.multiplier = Fraction(document["multiplier"]) if "multiplier" in document else None
        self.prices: Mapping[str, Any] = document.get("prices", {})
        self._provider = _provider_id(document.get("provider"))
        self._model: str = document.get("model", "*").lower()
        self.account = [(name, document[name]) for name in ACCOUNT_FIELDS if name in document]

    def concerns(self, provider_id: str, names: Sequence[str], profile: Profile | None) -> bool:
        """Tell whether it is about a call of these names of a model, whatever the time."""
        if self._provider not in {None, provider_id}:
            return False
        if any(profile is None or getattr(profile, name) != value for name, value in self.account):
            return False
        return self._model == "*" or any(fnmatchcase(name, self._model) for name in names)

    def applies(self, tier: str | None, at: datetime) -> bool:
        """Tell whether it holds for a tier at a time.

        A multiplier is for every tier unless it names one; prices are for the standard tier unless they name another.
        """
        if self.tier is None and self.multiplier is None and tier is not None:
            return False
        return self.tier in {None, tier} and holds(self.when, at)


class CustomModel:
    """One model of the user's own.

    Shape: `{"name", "provider", "match": [glob], "prices": [{"when"?, "prices"}], "variants": [...]}`
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.name: str = document["name"]
        self.provider: str = document["provider"]
        self._provider = _provider_id(self.provider)
        self._match = [glob.lower() for glob in document["match"]]

    def is_called(self, provider_id: str, names: Sequence[str]) -> bool:
        """Tell whether one of these names, in lower case, is its name."""
        return provider_id == self._provider and any(fnmatchcase(name, glob) for name in names for glob in self._match)


class Layers:
    """What a price book's document says beyond the providers' price lists."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.overrides = [Override(each) for each in document.get("overrides", ())]
        self._models = [CustomModel(each) for each in document.get("models", ())]
        self._deployments = {
            (_provider_id(each["provider"]), each["name"].lower()): each["model"]
            for each in document.get("deployments", ())
        }

    @property
    def asks_who_pays(self) -> bool:
        """Whether a price can depend on the account or the project."""
        return any(override.account for override in self.overrides)

    def custom(self, provider_id: str, names: Sequence[str]) -> CustomModel | None:
        """Return the user's own model of one of these names."""
        return next((model for model in self._models if model.is_called(provider_id, names)), None)

    def deployed(self, provider_id: str, names: Sequence[str], profile: Profile | None) -> str | None:
        """Return the model behind an Azure deployment or a Bedrock application inference profile, if the user says."""
        if not self._deployments:
            return None
        said = [*names, *(name.rpartition("/")[2] for name in names)]
        if profile is not None and profile.deployment:
            said.insert(0, profile.deployment)
        for name in said:
            model = self._deployments.get((provider_id, name.lower()))
            if model is not None:
                return model
        return None


def _provider_id(provider: str | None) -> str | None:
    return None if provider is None else BOOK_PROVIDERS.get(provider, provider)
