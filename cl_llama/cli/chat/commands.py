"""The commands of a chat: lines that begin with a slash."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_llama.cli.chat.session import ChatSession
from cl_llama.cli.chat.session_file import (
    SessionFile,
    read_session,
    vocabulary_digest,
    write_session,
)
from cl_llama.cli.chat.settings import SETTINGS, parse_setting, shown
from cl_llama.cli.did_you_mean import did_you_mean
from cl_llama.errors import RequestError
from cl_llama.prompt_tokens import PromptTokens


def _no_words() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Command:
    """What stands behind a slash."""

    run: Callable[[ChatSession, str], None]
    """Called with what follows the name, without white space around it."""
    argument: str
    """What may follow, as the help shows it."""
    help: str
    words: Callable[[], tuple[str, ...]] = _no_words
    """What may follow literally."""


def run_command(session: ChatSession, line: str) -> None:
    """Do what a line says that begins with a slash; RequestError if it cannot be done."""
    name, _, argument = line[1:].partition(" ")
    name = name.strip()
    command = COMMANDS.get(name)
    if command is None:
        hint = (
            did_you_mean(f"/{name}", [f"/{known}" for known in COMMANDS])
            or "; a message that begins with a slash takes two"
        )
        raise RequestError(f"there is no command /{name}{hint} (/help lists them)")
    if argument.strip() and not command.argument:
        raise RequestError(f"/{name} takes nothing behind it, got {argument.strip()!r:.80}")
    command.run(session, argument.strip())


def _help(session: ChatSession, argument: str) -> None:
    width = max(len(f"/{name} {command.argument}") for name, command in COMMANDS.items()) + 2
    for name, command in COMMANDS.items():
        session.tell(f"{f'/{name} {command.argument}':{width}}{command.help}")


def _clear(session: ChatSession, argument: str) -> None:
    session.snapshot()
    messages = session.conversation.messages
    session.conversation.messages = [] if session.system is None else messages[:1]
    session.note("A new conversation; /undo brings the old one back.")


def _system(session: ChatSession, argument: str) -> None:
    if not argument:
        session.tell("No system prompt." if session.system is None else session.system)
        return
    session.snapshot()
    rest = session.conversation.messages[session.system is not None :]
    head = [] if argument == "off" else [{"role": "system", "content": argument}]
    session.conversation.messages = [*head, *rest]
    session.note("The system prompt is off." if not head else "The system prompt is set.")


def _regen(session: ChatSession, argument: str) -> None:
    session.retry()


def _undo(session: ChatSession, argument: str) -> None:
    if not session.undo():
        raise RequestError("/undo: nothing has happened yet")
    messages = session.conversation.messages
    last = next((m["content"] for m in reversed(messages) if m["role"] == "user"), None)
    where = "at its beginning" if last is None else f"at the answer to {_short(last)!r}"
    session.note(f"The conversation is {where}.")


def _edit(session: ChatSession, argument: str) -> None:
    messages = list(session.conversation.messages)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or messages[-1]["role"] != "user":
        raise RequestError("/edit: there is no message yet")
    session.snapshot()
    session.draft = messages.pop()["content"]
    session.conversation.messages = messages


def _save(session: ChatSession, argument: str) -> None:
    path = _file(session, argument, "/save")
    if path != session.file and path.exists():
        raise RequestError(f"/save: {path} exists; /save! {argument} replaces it")
    _write(session, path)


def _replace(session: ChatSession, argument: str) -> None:
    _write(session, _file(session, argument, "/save!"))


def _write(session: ChatSession, path: Path) -> None:
    template = session.llm.chat_template
    assert template is not None  # there is a conversation
    write_session(
        path,
        SessionFile(
            session.model,
            template.digest,
            vocabulary_digest(session.llm.tokenizer),
            session.params,
            session.conversation.messages,
            session.conversation.tokens,
        ),
    )
    session.file = path
    session.note(f"Saved {len(session.conversation.messages)} messages to {path}.")


def load(session: ChatSession, argument: str) -> None:
    """Go on with the conversation in a file; RequestError if it cannot be read."""
    path = _file(session, argument, "/load")
    saved = read_session(path)
    tokens, note = saved.tokens, ""
    vocabulary = session.llm.config.vocab_size
    if saved.tokenizer != vocabulary_digest(session.llm.tokenizer) or any(
        token_id >= vocabulary for token_id in tokens.ids
    ):
        tokens = PromptTokens()
        note = f" It was written with another tokenizer ({saved.model}) and is encoded anew."
    elif saved.template != getattr(session.llm.chat_template, "digest", None):
        note = f" It was written in another template ({saved.model})."
    session.snapshot()
    session.conversation.messages, session.conversation.tokens = saved.messages, tokens
    session.params, session.file = saved.sampling, path
    session.note(f"Loaded {len(saved.messages)} messages from {path}.{note}")


def _set(session: ChatSession, argument: str) -> None:
    name, _, text = argument.partition(" ")
    if not name:
        for setting in SETTINGS:
            session.tell(f"{setting:24}{shown(getattr(session.params, setting))}")
        return
    name = name.replace("-", "_").removeprefix("__")
    if name not in SETTINGS:
        raise RequestError(
            f"/set: there is no setting {name!r}{did_you_mean(name, SETTINGS)} (/set lists them)"
        )
    if text.strip():
        value: Any = (
            getattr(session.defaults, name)
            if text.strip() == "default"
            else parse_setting(name, text.strip())
        )
        try:
            session.change_params({name: value})
        except RequestError as error:
            raise RequestError(f"/set: {str(error).removeprefix('SamplingParams: ')}") from None
    session.tell(f"{name} {shown(getattr(session.params, name))}")


def _stats(session: ChatSession, argument: str) -> None:
    for line in session.statistics():
        session.tell(line)


def _exit(session: ChatSession, argument: str) -> None:
    session.over = True


def _file(session: ChatSession, argument: str, command: str) -> Path:
    if len(argument) > 1 and argument[0] == argument[-1] and argument[0] in "\"'":
        argument = argument[1:-1]
    if argument:
        return Path(argument).expanduser().absolute()
    if session.file is None:
        raise RequestError(f"{command}: name a file, as in {command} talk.json")
    return session.file


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 50 else f"{line[:49]}…"


COMMANDS = {
    "help": Command(_help, "", "this list"),
    "clear": Command(_clear, "", "begin a new conversation with the same system prompt"),
    "system": Command(
        _system,
        "TEXT",
        "what the model is told first; off: nothing; alone: shows it",
        lambda: ("off",),
    ),
    "regen": Command(_regen, "", "answer the last message anew"),
    "edit": Command(_edit, "", "change the last message and have it answered anew"),
    "undo": Command(_undo, "", "take the last exchange, or other change, back"),
    "save": Command(_save, "FILE", "write the conversation to a new file, or again to its own"),
    "save!": Command(_replace, "FILE", "the same, over a file that is there"),
    "load": Command(load, "FILE", "go on with a saved conversation and its settings"),
    "set": Command(
        _set, "KEY VALUE", "change a sampling setting; alone: shows all", lambda: SETTINGS
    ),
    "stats": Command(_stats, "", "tokens, speed and cache of the last answer; the context"),
    "exit": Command(_exit, "", "leave, as Ctrl-D does"),
}
"""By name, as the help lists them."""
