"""The hosts of the providers: who answers there, and what is known of it.

A host that stands here needs no more than its path to be believed; any other one is recognised by path and body.

Source: the default base URLs of the SDKs (openai 3.54, anthropic 2.12, groq 1.7, mistralai 3.7, cohere 7.3,
google-genai 3.4, ollama 0.6, botocore 1.44) and the `api_pattern`s of genai-prices 0.2.3 (November 2026).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

__all__ = ["PROVIDERS", "Provider", "provider_of", "region_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """Say who answers on some hosts.

    Source: names of the GenAI conventions where they have one (facts of November 2026), else the brand in lower case.
    """

    name: str
    hosts: tuple[str, ...]
    """With all their subdomains."""
    services: tuple[str, ...] = ()
    """Where a domain is shared: a host counts if a label of it is one of these, or ends in one behind a dash."""
    include_usage: bool = False
    """Whether its chat streams report usage only on request, and the request is known to be accepted."""

    def serves(self, labels: list[str]) -> bool:
        """Tell whether a host of one of its domains is one of its own."""
        return not self.services or any(
            label == service or label.endswith("-" + service) for label in labels for service in self.services
        )


_AWS: Final = (
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "api.amazonwebservices.com.cn",
    "api.amazonwebservices.eu",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
)
"""Domains of AWS's partitions: botocore 1.44 data/partitions.json."""
PROVIDERS: Final = (
    Provider(name="openai", hosts=("api.openai.com",), include_usage=True),
    Provider(
        name="azure.ai.openai",
        hosts=(
            "openai.azure.com",
            "openai.azure.us",
            "openai.azure.cn",
            "cognitiveservices.azure.com",
            "cognitiveservices.azure.us",
            "services.ai.azure.com",
        ),
        include_usage=True,
    ),
    Provider(name="azure.ai.inference", hosts=("models.ai.azure.com", "inference.ai.azure.com")),
    Provider(name="anthropic", hosts=("anthropic.com",)),
    Provider(name="gcp.gemini", hosts=("generativelanguage.googleapis.com", "generativelanguage.mtls.googleapis.com")),
    # Regional names put the region first with a dash, or between: aiplatform.eu.rep.googleapis.com.
    Provider(name="gcp.vertex_ai", hosts=("googleapis.com",), services=("aiplatform",)),
    # The OpenAI-compatible API stands on bedrock-mantle.{region}.api.aws, and below bedrock-runtime's /openai.
    Provider(
        name="aws.bedrock",
        hosts=_AWS,
        services=("bedrock-runtime", "bedrock-runtime-fips", "bedrock-mantle"),
    ),
    Provider(name="mistral_ai", hosts=("mistral.ai",)),
    Provider(name="cohere", hosts=("cohere.com", "cohere.ai")),
    Provider(name="groq", hosts=("api.groq.com",)),
    Provider(name="openrouter", hosts=("openrouter.ai",)),
    Provider(name="deepseek", hosts=("api.deepseek.com",), include_usage=True),
    Provider(name="x_ai", hosts=("api.x.ai",)),
    Provider(name="together", hosts=("together.xyz", "together.ai")),
    Provider(name="fireworks", hosts=("fireworks.ai",)),
    Provider(name="perplexity", hosts=("api.perplexity.ai",)),
    # Keys of MongoDB Atlas go to the second one: mongodb.com/docs/api/doc/atlas-embedding-and-reranking-api.
    Provider(name="voyage", hosts=("api.voyageai.com", "ai.mongodb.com")),
    Provider(name="jina", hosts=("jina.ai",)),
    Provider(name="ollama", hosts=("ollama.com",)),
    Provider(name="portkey", hosts=("api.portkey.ai",)),
    Provider(name="writer", hosts=("api.writer.com",)),
    Provider(name="moonshot_ai", hosts=("api.moonshot.ai", "api.moonshot.cn")),
    Provider(name="cerebras", hosts=("api.cerebras.ai",)),
    Provider(name="baseten", hosts=("inference.baseten.co",)),
    Provider(name="novita", hosts=("api.novita.ai",)),
    Provider(name="minimax", hosts=("api.minimax.io", "api.minimaxi.com")),
    Provider(name="zai", hosts=("api.z.ai",)),
    Provider(name="zhipuai", hosts=("open.bigmodel.cn",)),
    Provider(name="ovhcloud", hosts=("endpoints.kepler.ai.cloud.ovh.net",)),
)
_BY_HOST: Final[Mapping[str, Provider]] = {host: provider for provider in PROVIDERS for host in provider.hosts}


@lru_cache(maxsize=256)
def provider_of(host: str) -> Provider | None:
    """Find the provider of a host, by the host itself or a domain above it."""
    labels = host.lower().split(".")
    for start in range(len(labels)):
        found = _BY_HOST.get(".".join(labels[start:]))
        if found is not None and found.serves(labels):
            return found
    return None


def region_of(host: str) -> str | None:
    """Read the region out of the name of a host of Bedrock's, also of a VPC's own endpoint."""
    labels = iter(host.split("."))
    found = next(labels, None) if any(label.startswith("bedrock-") for label in labels) else None
    return found if provider_of(host) is not None else None
