"""What a request says of functions: their definitions, and which of them to call."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

FunctionName: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


class FunctionDefinition(BaseModel):
    """A function that the model may call."""

    model_config = ConfigDict(extra="ignore")

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = Field(
        default=None, description="JSON schema of the arguments, an object; absent: no arguments."
    )
    strict: bool | None = Field(
        default=None,
        description="Whether a schema that cannot be kept to the letter is refused. Arguments "
        "follow the schema in both cases as far as it is understood.",
    )


class Tool(BaseModel):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: FunctionDefinition

    def as_template_value(self) -> dict[str, Any]:
        """The tool as chat templates expect it."""
        function = self.function.model_dump(exclude_none=True, exclude={"strict"})
        function.setdefault("parameters", {"type": "object", "properties": {}})
        return {"type": "function", "function": function}


class NamedFunction(BaseModel):
    """The name of a function."""

    name: FunctionName


class NamedTool(BaseModel):
    """The one function to call."""

    type: Literal["function"]
    function: NamedFunction


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | NamedTool


class FunctionCall(BaseModel):
    """A function's name and its arguments."""

    name: str
    arguments: str = Field(description="A JSON object as text.")


class ToolCall(BaseModel):
    """A call that the model made."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class FunctionCallDelta(BaseModel):
    """More of a call."""

    name: str | None = None
    arguments: str = ""


class ToolCallDelta(BaseModel):
    """More of a call in a stream; `id`, `type` and the name come with its first."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionCallDelta
