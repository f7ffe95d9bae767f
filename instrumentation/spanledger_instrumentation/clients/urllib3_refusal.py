"""The response of urllib3 to a request that is not sent."""

from io import BytesIO
from typing import Any

from spanledger_instrumentation.refusals import REASON, STATUS_CODE, Refusal

__all__ = ["refused"]


def refused(
    urllib3: Any,
    refusal: Refusal,
    method: str,
    url: str,
    *,
    preload_content: bool = False,
    decode_content: bool = False,
) -> Any:  # Any: the module and its response
    """Make it of a body in memory, which is there to be read, as the network's would be.

    Raises:
        Exception: this urllib3 is another than we know.
    """
    return urllib3.response.HTTPResponse(
        body=BytesIO(refusal.content),
        headers=dict(refusal.headers),
        status=STATUS_CODE,
        version=11,
        reason=REASON,
        preload_content=preload_content,
        decode_content=decode_content,
        request_method=method,
        request_url=url,
    )
