"""A conversation made ready for the model: its messages, its form, its tools and parameters."""

from cl_llama.llm import Llama
from cl_llama.server.errors import ApiError
from cl_llama.server.openai.chat_models import ChatRequest
from cl_llama.server.openai.chat_reader import ChatReader
from cl_llama.server.openai.choices import params_of_choice
from cl_llama.server.openai.tools.request import prompt_values, tool_use
from cl_llama.text_stream import TextStream


class ChatTask:
    """What all answers to one request have in common."""

    def __init__(self, llm: Llama, request: ChatRequest) -> None:
        """Write the prompt and compile the grammar; blocks. Raises as `Llama.chat` does."""
        tools = request.tools or []
        parallel = request.parallel_tool_calls is not False
        self._llm = llm
        self._request = request
        self._params = request.sampling_params(
            max_new_tokens=request.max_new_tokens,
            logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        )
        self._tools = tool_use(llm, tools, request.tool_choice, parallel)
        if self._tools is not None and request.is_bound():
            raise ApiError(
                "response_format and tools: an answer is bound by one of them only; send the tools "
                'with tool_choice "none", or without a form',
                param="response_format",
            )
        told = [] if request.tool_choice == "none" else tools
        said = [message.as_template_value() for message in request.messages]
        begun = said.pop()["content"] if request.continue_final_message else ""
        messages, values = prompt_values(llm, said, told)
        values |= request.chat_template_kwargs or {}
        self._prompt_ids = llm.prompt_ids(llm.chat_prompt(messages, **values) + begun)

    def begin(self, index: int) -> TextStream:
        """Begin the answer number `index`; blocks. Raises as `Llama.stream_answer` does."""
        tools = self._tools
        mask = self._request.logit_mask(self._llm) if tools is None else tools.mask(self._llm)
        params = params_of_choice(self._params, index)
        return self._llm.stream_answer(
            self._prompt_ids,
            params,
            logit_mask=mask,
            has_begun=self._request.continue_final_message is True,
        )

    def reader(self) -> ChatReader:
        """A reader for one answer."""
        return ChatReader(self._llm.tokenizer, self._tools, self._request.logprobs is True)
