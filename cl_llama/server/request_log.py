"""One line for every request; what people write is in none unless asked for."""

import json
import logging

from cl_llama.server.errors import CLIENT_GONE, failure_of
from cl_llama.server.exchange import Exchange
from cl_llama.server.service import Service

_log = logging.getLogger("cl_llama.server")
QUIET_PATHS = {"/health", "/metrics"}
"""Asked for by machines every few seconds: only their failures are logged."""


class RequestLog:
    """Logs requests that are over: method, path, status, tokens of prompt and text, seconds."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, exchange: Exchange) -> None:
        """Log a request."""
        status = exchange.status or CLIENT_GONE
        if exchange.path in QUIET_PATHS and status < 400:
            return
        words = [exchange.method, _one_line(exchange.path), str(status)]
        if exchange.streams:
            stats = [stream.stats for stream in exchange.streams]
            prompt = sum(one.prompt_tokens for one in stats)
            words.append(f"{prompt}+{sum(one.generated_tokens for one in stats)} tokens")
        words.append(f"{exchange.seconds:.3f} s")
        if exchange.error is not None:
            words.append(f"({failure_of(exchange.error).message})")
        _log.info(" ".join(words))
        if self._service.settings.log_prompts:
            for stream in exchange.streams:
                text = self._service.llm.tokenizer.decode(
                    stream.prompt_token_ids, skip_special=False
                )
                _log.info("prompt: %s", json.dumps(text, ensure_ascii=False))


def _one_line(path: str) -> str:
    """The path without what would make a log lie: line breaks and other control characters."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in path)[:200]
