"""The text that a tokenizer can encode: any `str`, made valid Unicode."""


def valid_unicode(text: str) -> str:
    """`text` with surrogate pairs joined and unpaired surrogates replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
