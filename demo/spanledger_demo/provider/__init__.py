"""A local model provider: the wire formats of OpenAI and Anthropic, invented answers, and an honest tally.

It exists for the demo and the tests. Nothing in it is shared with the exporter: its prices and its arithmetic are its
own, so that an equal sum on both sides means something.
"""

from spanledger_demo.provider.server import Provider, running_provider

__all__ = ["Provider", "running_provider"]
