"""Content negotiation for an answer in JSON Lines (RFC 9110, section 12.5.1)."""

OFFERED = ("text/jsonl", "application/json")
"""What the lines may be called, the better name first."""


def negotiate(accept: str) -> str | None:
    """The name among `OFFERED` that an Accept header likes best; None: it takes neither.

    The most specific range decides how much a name is liked. No header is like */*.
    """
    ranges = [_parse(part) for part in accept.split(",") if part.strip()] or [("*/*", 1.0)]
    best, best_quality = None, 0.0
    for name in OFFERED:
        for pattern in (name, f"{name.partition('/')[0]}/*", "*/*"):
            qualities = [quality for of, quality in ranges if of == pattern]
            if qualities:
                if max(qualities) > best_quality:
                    best, best_quality = name, max(qualities)
                break
    return best


def _parse(media_range: str) -> tuple[str, float]:
    """The range and its quality; a quality that is no number is 0."""
    name, *parameters = (part.strip() for part in media_range.lower().split(";"))
    quality = 1.0
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
    return name, quality if 0.0 <= quality <= 1.0 else 0.0
