"""What the attributes of the OpenTelemetry conventions are called, current names before older ones.

Every dialect speaks these too; what it says otherwise stands in its row (`rows.py`). Our own half's names are
docs/span-attributes.md.

Source: repository semantic-conventions-genai, `docs/gen-ai/client-inference.md`, read 2026-11; anthropic 2.12
`_tracing.py` for the `anthropic.*` names.
"""

from collections.abc import Mapping

Names = Mapping[str, tuple[str, ...]]

# What many calls have in common -> the attributes that say it, most current first.
SHARED: Names = {
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "operation": ("gen_ai.operation.name",),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "finish_reasons": ("gen_ai.response.finish_reasons",),
    "stream": ("gen_ai.request.stream",),
    "service_tier": (
        "openai.response.service_tier",
        "anthropic.response.service_tier",
        "spanledger.response.service_tier",
        "gen_ai.openai.response.service_tier",
    ),
    "speed": ("anthropic.response.speed",),
    "inference_geo": ("anthropic.response.inference_geo",),
    "server_address": ("server.address",),
    "error_type": ("spanledger.error.type", "error.type"),
    "http_status": ("http.response.status_code",),
    "resend_count": ("http.request.resend_count",),
    "usage_status": ("spanledger.usage.status",),
    "team": ("spanledger.team",),
    "project": ("spanledger.project",),
    "feature": ("spanledger.feature",),
    "organization": ("spanledger.organization", "anthropic.organization.id"),
    "provider_project": ("spanledger.provider_project", "anthropic.workspace.id"),
    "api_key_hash": ("spanledger.api_key.hash",),
    "deployment": ("spanledger.deployment",),
    "region": ("cloud.region",),
    "annotated": ("spanledger.request.annotated",),
    "cost_currency": ("gen_ai.usage.cost.currency",),
    "cost_source": ("gen_ai.usage.cost.source",),
    # Whether input tokens include cached ones, where a span says so itself (Grafana's conventions).
    "semantics": ("gen_ai.token.semantics",),
}
# What is a call's own: identities, times, money.
OWN: Names = {
    "response_id": ("gen_ai.response.id",),
    "user_id": ("user.id",),
    "session_id": ("session.id",),
    "request_hash": ("spanledger.request.hash",),
    "time_to_first_chunk": ("gen_ai.response.time_to_first_chunk",),
    "cost": ("gen_ai.usage.cost.amount",),
    "leases": ("spanledger.budget.leases",),
}
# The figures of a call, by the field of `Usage` that they are.
USAGE: Names = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
    ),
    "cache_write_5m_tokens": ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
    "cache_write_30m_tokens": ("openai.usage.cache_write.ttl_30m_input_tokens",),
    "cache_write_1h_tokens": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "cache_write_12h_tokens": ("openai.usage.cache_write.ttl_12h_input_tokens",),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
    "input_audio_tokens": ("gen_ai.usage.audio.input_tokens",),
    "output_audio_tokens": ("gen_ai.usage.audio.output_tokens",),
    "input_image_tokens": ("gen_ai.usage.image.input_tokens",),
    "web_search_requests": ("spanledger.usage.web_search_requests",),
    "input_text_tokens": ("gen_ai.usage.text.input_tokens",),
    "input_video_tokens": ("gen_ai.usage.video.input_tokens",),
    "output_text_tokens": ("gen_ai.usage.text.output_tokens",),
    "output_image_tokens": ("gen_ai.usage.image.output_tokens",),
    "cache_read_text_tokens": ("gen_ai.usage.text.cache_read.input_tokens",),
    "cache_read_audio_tokens": ("gen_ai.usage.audio.cache_read.input_tokens",),
    "cache_read_image_tokens": ("gen_ai.usage.image.cache_read.input_tokens",),
    "cache_read_video_tokens": ("gen_ai.usage.video.cache_read.input_tokens",),
    "compaction_input_tokens": ("anthropic.usage.compaction.input_tokens",),
    "compaction_output_tokens": ("anthropic.usage.compaction.output_tokens",),
    "svg_input_tokens": ("openai.usage.svg.input_tokens",),
    "svg_output_tokens": ("openai.usage.svg.output_tokens",),
    "svg_reasoning_tokens": ("openai.usage.svg.reasoning.output_tokens",),
    "image_tool_input_tokens": ("openai.usage.image_generation.input_tokens",),
    "image_tool_output_tokens": ("openai.usage.image_generation.output_tokens",),
    "search_sources": ("spanledger.usage.search_sources",),
    "search_units": ("spanledger.usage.search_units",),
    "input_characters": ("spanledger.usage.input_characters",),
    "input_audio_ms": ("spanledger.usage.input_audio_seconds",),
    "input_images": ("spanledger.usage.input_images",),
    "output_images": ("spanledger.usage.output_images",),
    "pages": ("spanledger.usage.pages",),
    "requests": ("spanledger.batch.requests",),
    "request_input_tokens_max": ("spanledger.batch.input_tokens_max",),
    "estimated_input_tokens": ("spanledger.estimate.input_tokens",),
    "estimated_output_tokens": ("spanledger.estimate.output_tokens",),
    "processed_input_tokens": ("spanledger.processed.input_tokens",),
    "processed_output_tokens": ("spanledger.processed.output_tokens",),
}
OTEL: Names = {**SHARED, **OWN, **USAGE}
RESOURCE: Names = {
    "service": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
