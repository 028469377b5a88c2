"""What pages for people share: a policy that lets nothing run but their own style and script, and a look at the Host.

A page is one file with its style and script inside. Who serves it on this machine alone answers requests by a name of
this machine alone, so that no page from elsewhere can have a browser read it under a name of its own (DNS rebinding).
"""

import hashlib
import re
from base64 import b64encode
from typing import Final

from aiohttp import web

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")


def security_headers(template: str, *also_allowed: str) -> dict[str, str]:
    """For every answer of a listener whose page is ``template``; ``also_allowed`` are directives of the policy."""
    policy = (
        "default-src 'none'",
        f"style-src 'sha256-{_digest(template, 'style')}'",
        f"script-src 'sha256-{_digest(template, 'script')}'",
        "connect-src 'self'",
        "img-src data:",
        *also_allowed,
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(policy),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }


def asked_by_a_name_of_this_machine(request: web.Request) -> bool:
    """Whether the Host header names the loopback interface, on any port."""
    host = request.headers.get("Host", "")
    name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
    return name in LOOPBACK_HOSTS


def _digest(template: str, tag: str) -> str:
    """What a content security policy calls the template's own style or script by."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>", template, re.DOTALL)[0]
    return b64encode(hashlib.sha256(inline.encode()).digest()).decode()
