"""Says in a sentence why a store could not be spoken to; what TLS libraries say is for those who wrote them."""

from __future__ import annotations

from pathlib import Path

from grab_service.store_urls import authority_file, wants_tls

_UNVERIFIED = "certificate verify failed"
_OTHER_NAME = ("mismatch", "not valid for")
_NO_TLS = ("rejected SSL upgrade", "WRONG_VERSION_NUMBER", "Timeout connecting")


def reason(error: Exception, url: str) -> str:
    """Return why a store did not answer.

    Args:
        error: What its client has raised.
        url: Where the store is, as the settings have it.
    """
    told = str(error) or type(error).__name__
    if not wants_tls(url):
        return told
    authority = authority_file(url)
    if authority and not Path(authority).is_file():
        return f"the file of the authority that signs its certificate, {authority}, is not there"
    if _UNVERIFIED in told:
        if any(words in told for words in _OTHER_NAME):
            return f"its certificate is for another name than the URL's ({told})"
        trusted = f"the authority of {authority}" if authority else "an authority that this machine trusts"
        return f"its certificate is not signed by {trusted} ({told})"
    if any(words in told for words in _NO_TLS):
        return f"it does not speak TLS, which the URL asks for ({told})"
    return told
