"""What a server is told when it starts."""

from dataclasses import dataclass

RLLAMA_PATH = "/rllama/v1/inference"


@dataclass(frozen=True, slots=True)
class RllamaSettings:
    """RLLaMA's own endpoint."""

    path: str = RLLAMA_PATH
    exit_after_one_query: bool = False
    """Stop the server when one request to this endpoint was answered with a text."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Where to listen, whom to serve and how much of it."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free one."""
    api_keys: tuple[str, ...] = ()
    """Any of these is asked of a client; none: everybody is served."""
    cors_origins: tuple[str, ...] = ()
    """Web pages of these origins may call; "*": those of any."""
    allowed_hosts: tuple[str, ...] = ()
    """Names, beside the host's own, under which the server is reached; "*": any."""
    max_concurrent: int = 32
    """HTTP requests that generate at the same time."""
    max_queue: int = 64
    """HTTP requests that wait for their turn; one more is refused."""
    request_timeout: float = 600.0
    """Seconds from a request's first byte to the end of its text."""
    idle_timeout: float = 30.0
    """Seconds without a byte from a client that sends, or to one that reads, until it is left."""
    max_body_bytes: int = 4 * 2**20
    grace_seconds: float = 30.0
    """How long running texts may go on when the server is told to stop."""
    log_prompts: bool = False
    model_name: str | None = None
    """What clients call the model; None: its file's name."""
    rllama: RllamaSettings = RllamaSettings()
