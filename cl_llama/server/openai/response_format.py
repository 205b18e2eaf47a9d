"""What an answer must look like: text, JSON, JSON by a schema, or a grammar's language."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from cl_llama.engine.sampling import LogitMask
from cl_llama.errors import RequestError
from cl_llama.llm import Llama
from cl_llama.server.errors import ApiError
from cl_llama.server.openai.schemas import prepared


class TextFormat(BaseModel):
    """Any text."""

    type: Literal["text"]


class JsonObjectFormat(BaseModel):
    """Any JSON object."""

    type: Literal["json_object"]


class JsonSchema(BaseModel):
    """A schema and its name."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore")

    name: str | None = Field(default=None, max_length=64)
    description: str | None = None
    schema_: dict[str, Any] | None = Field(
        default=None, alias="schema", description="A JSON schema; absent: any JSON object."
    )
    strict: bool | None = Field(
        default=None,
        description="Whether a schema that cannot be kept to the letter is refused. Answers "
        "follow the schema in both cases as far as it is understood.",
    )


class JsonSchemaFormat(BaseModel):
    """JSON that the schema allows."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat: TypeAlias = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


class FormatFields(BaseModel):
    """The fields of a request that bind the answer's form; one of them at most."""

    response_format: ResponseFormat | None = None
    grammar: str | None = Field(
        default=None, description="Extension: a grammar in Lark's or llama.cpp's GBNF notation."
    )
    guided_regex: str | None = Field(
        default=None, description="Extension: a regular expression for the whole answer."
    )

    def is_bound(self) -> bool:
        """Whether the answer may be anything but free text."""
        return bool(self._given())

    def logit_mask(self, llm: Llama) -> LogitMask | None:
        """A fresh mask for one answer; None for free text. Blocks while a grammar is compiled.

        Raises ApiError where two forms are asked for, or one that cannot be compiled.
        """
        given = self._given()
        if len(given) > 1:
            raise ApiError(f"{' and '.join(given)}: an answer has one form only", param=given[1])
        if not given:
            return None
        try:
            if self.grammar is not None:
                is_gbnf = "::=" in self.grammar
                compile_ = llm.grammars.gbnf if is_gbnf else llm.grammars.lark
                return compile_(self.grammar).mask()
            if self.guided_regex is not None:
                return llm.grammars.regex(self.guided_regex).mask()
            if isinstance(self.response_format, JsonSchemaFormat):
                wanted = self.response_format.json_schema
                if wanted.schema_ is not None:
                    schema = prepared(wanted.schema_, wanted.strict)
                    return llm.grammars.json_schema(schema).mask()
            return llm.grammars.json_object().mask()
        except RequestError as error:
            raise ApiError(str(error), param=given[0]) from None

    def _given(self) -> list[str]:
        given = []
        if self.response_format is not None and self.response_format.type != "text":
            given.append("response_format")
        given += [name for name in ("grammar", "guided_regex") if getattr(self, name) is not None]
        return given
