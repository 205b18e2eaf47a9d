"""What the endpoints share: the model, and the line of requests that wait for it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeAlias, TypeVar

from cl_llama.engine.status import EngineState
from cl_llama.llm import Llama
from cl_llama.server.answer import AnswerStream
from cl_llama.server.errors import NotReadyError
from cl_llama.server.exchange import Exchange, current_exchange
from cl_llama.server.line import Line
from cl_llama.server.settings import ServerSettings
from cl_llama.text_stream import TextStream

T = TypeVar("T")
State: TypeAlias = Literal["ok", "loading", "rebuilding", "draining", "failed"]

_STATES: dict[EngineState, State] = {"ready": "ok", "rebuilding": "rebuilding", "closed": "failed"}


class Service:
    """One for each app, at `request.app.state.service`; its methods are for the event loop."""

    def __init__(self, settings: ServerSettings, llm: Llama | None = None) -> None:
        """Without a model the state is "loading" until there is one."""
        self.settings = settings
        self.model_name = settings.model_name or "cl-llama"
        self.created = int(time.time())
        """When the server was started, in seconds since 1970."""
        self.line = Line(settings.max_concurrent, settings.max_queue)
        self.on_stop: Callable[[], None] = self.drain
        """Stops the server in good order."""
        self._llm = llm
        self._shared: dict[Callable[[Llama], Any], Any] = {}
        self._draining = False
        self._exchanges: set[Exchange] = set()
        self._threads = ThreadPoolExecutor(thread_name_prefix="cl-llama server")

    @property
    def state(self) -> State:
        """Whether it serves, and if not, why."""
        if self._draining:
            return "draining"
        if self._llm is None:
            return "loading"
        return _STATES[self._llm.engine.status().state]

    @property
    def has_model(self) -> bool:
        """Whether the model is there."""
        return self._llm is not None

    @property
    def llm(self) -> Llama:
        """The model; NotReadyError while there is none."""
        if self._llm is None:
            raise NotReadyError("the model is being loaded; try again in a moment")
        return self._llm

    def serve(self, llm: Llama) -> None:
        """The model is there."""
        self._llm = llm

    async def start(self, begin: Callable[[], TextStream]) -> AnswerStream:
        """Begin a text for the HTTP request at hand, when it is its turn.

        `begin` runs in a thread: it may render a template, tokenize and submit. A request waits
        once, whatever number of texts it starts.

        Raises NotReadyError, QueueFullError, RequestTimeoutError, ClientGoneError and what `begin`
        raises.
        """
        exchange = await self._admit()
        stream = await exchange.wait_for(self._in_thread(begin))
        return AnswerStream(stream, exchange)

    async def call(self, function: Callable[[], T]) -> T:
        """Run something that blocks in a thread, when it is the HTTP request's turn.

        Raises as `start` does. What has begun runs to its end, even if nobody wants it any more.
        """
        exchange = await self._admit()
        return await exchange.wait_for(self._in_thread(function))

    def shared(self, make: Callable[[Llama], T]) -> T:
        """What `make` makes of the model: once, for all requests."""
        if make not in self._shared:
            self._shared[make] = make(self.llm)
        made: T = self._shared[make]
        return made

    def drain(self) -> None:
        """Take no more requests; those that are being answered, or wait, go on."""
        self._draining = True

    def cancel_all(self) -> None:
        """End all texts with an error that says that the server stops."""
        for exchange in list(self._exchanges):
            exchange.abort(self._stopping())

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _admit(self) -> Exchange:
        exchange = current_exchange()
        if exchange not in self._exchanges:
            self._check_ready()
            self._exchanges.add(exchange)
            exchange.on_end(lambda: self._exchanges.discard(exchange))
        await exchange.enter(self.line)
        return exchange

    def _check_ready(self) -> None:
        _ = self.llm
        if self.state == "draining":
            raise self._stopping()
        if self.state == "rebuilding":
            raise NotReadyError("the device failed and the model is loaded anew; try again soon")

    def _stopping(self) -> NotReadyError:
        return NotReadyError("the server is about to stop")

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)
