"""What a web server or an edge needs: an id for unknown visitors, and the header that routes match."""

import re
import secrets

HEADER = "torchfinch-variant"
COOKIE = "torchfinch-user"

_OWN = re.compile(rf"(?:^|;)\s*{COOKIE}=([A-Za-z0-9_-]{{22}})\s*(?:;|$)")
"""In a `Cookie` header, whatever else stands there; `SimpleCookie` gives up at the first pair that it does not like."""
_YEAR = 365 * 24 * 3600


def new_user_id() -> str:
    """A random id for an unknown visitor: 22 characters, 128 bits."""
    return secrets.token_urlsafe(16)


def visitor(cookies: str | None) -> tuple[str, str | None]:
    """The id of an anonymous visitor, and the `Set-Cookie` header to answer with, None where the visitor has one.

    `cookies` is the request's `Cookie` header. The cookie is `Secure`: browsers keep it for sites with HTTPS, and for
    `localhost`. An id that this function did not make is replaced, whoever sent it.
    """
    found = _OWN.search(cookies or "")
    if found:
        return found[1], None
    user = new_user_id()
    return user, f"{COOKIE}={user}; Max-Age={_YEAR}; Path=/; Secure; HttpOnly; SameSite=Lax"
