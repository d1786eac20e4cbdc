"""The one way to the server: `client.py` sends, `reasons.py` says why there is no answer."""

from orchestrator.edges.isales_client.client import (
    CONTENT_TYPE,
    Departure,
    IsalesClient,
    NotSentError,
    c_parser_in_use,
    tls_context,
)

__all__ = [
    "CONTENT_TYPE",
    "Departure",
    "IsalesClient",
    "NotSentError",
    "c_parser_in_use",
    "tls_context",
]
