"""A model without OpenCL that speaks bytes, so that it can be made to say anything."""

from cl_llama.chat import ChatTemplate
from cl_llama.chat.builtin import BUILTIN
from cl_llama.llm import Llama
from cl_llama.models.batch import Batch
from cl_llama.tokenizers.bytewise import BytewiseTokenizer
from cl_llama.tokenizers.special import SpecialSplitter
from cl_llama.tokenizers.streaming import LeadingSpace
from tests.paged_model import NumpyLogits, PagedModel

SPECIALS = ("<|im_start|>", "<|im_end|>", "[TOOL_CALLS]", "[ARGS]", "<|python_tag|>")
FIRST_SPECIAL = 256
BOS = FIRST_SPECIAL
EOS = FIRST_SPECIAL + 1
VOCAB_SIZE = FIRST_SPECIAL + len(SPECIALS)


class ByteTokenizer(BytewiseTokenizer):
    """A token a byte, and special tokens."""

    def __init__(self) -> None:
        super().__init__(
            pieces=[*(f"<0x{byte:02X}>" for byte in range(256)), *SPECIALS],
            contributions=[*(bytes([byte]) for byte in range(256)), *[b""] * len(SPECIALS)],
            special_ids=frozenset(range(FIRST_SPECIAL, VOCAB_SIZE)),
            leading=LeadingSpace.KEEP,
            bos_id=None,
            eos_ids=(EOS,),
            adds_bos=False,
        )
        names = {name: FIRST_SPECIAL + i for i, name in enumerate(SPECIALS)}
        self._splitter = SpecialSplitter(names)

    def encode(self, text: str, add_bos: bool = True, special: bool = False) -> list[int]:
        ids: list[int] = []
        for part in self._splitter.split(text) if special else [text]:
            ids += [part] if isinstance(part, int) else part.encode(errors="replace")
        return ids


class SayingModel(PagedModel):
    """Says `saying` and ends, to one request at a time; while it is None any bytes."""

    def __init__(self) -> None:
        super().__init__(num_blocks=512, block_size=16, vocab_size=VOCAB_SIZE)
        self._saying: list[int] | None = None
        self._begin: int | None = None

    def say(self, text: str | None) -> None:
        """What the next answer is, special tokens included."""
        self._begin = None
        self._saying = None
        if text is not None:
            self._saying = [*ByteTokenizer().encode(text, special=True), EOS]

    def forward(self, batch: Batch) -> NumpyLogits:
        logits = super().forward(batch)
        rows_RV = logits.numpy().copy()
        rows_RV[:, FIRST_SPECIAL:] -= 50
        if self._saying is not None and batch.logits_rows:
            (part,) = batch.slices
            end = part.start + len(part.token_ids)
            self._begin = end if self._begin is None else self._begin
            rows_RV[-1, self._saying[min(end - self._begin, len(self._saying) - 1)]] += 100
        return NumpyLogits(rows_RV, self.used, logits.states())


def byte_llama(template: str | None = BUILTIN["chatml"], **settings: object) -> Llama:
    """A model of random bytes with room for 4,096 tokens."""
    chat_template = None if template is None else ChatTemplate({"default": template})
    settings = {"max_seq_len": 4096} | settings
    return Llama(SayingModel(), ByteTokenizer(), chat_template=chat_template, **settings)
