"""Messages that a person types: editing over several lines, history, completion."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, TextIO

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import AnyFormattedText
from prompt_toolkit.input import create_input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import create_output
from prompt_toolkit.styles import Style

from cl_llama.cli.chat.history import open_history

if TYPE_CHECKING:
    from cl_llama.cli.chat.commands import Command

_STYLE = Style.from_dict({"prompt": "bold", "bottom-toolbar": "noreverse", "status": "#888888"})
_AGAIN = "Ctrl-C once more, or Ctrl-D, leaves."


class TerminalReader:
    """Reads messages from the terminal with an editor of prompt_toolkit."""

    interactive = True

    def __init__(
        self, screen: TextIO, commands: "Mapping[str, Command]", history: str | None
    ) -> None:
        """screen: the terminal that the editor draws on."""
        self._screen = screen
        self._leaving = False
        self._session: PromptSession[str] = PromptSession(
            [("class:prompt", "> ")],
            multiline=True,
            prompt_continuation=[("class:prompt", "  ")],
            history=open_history(history),
            completer=_Commands(commands),
            complete_while_typing=Condition(self._types_a_command),
            key_bindings=_keys(),
            style=_STYLE,
            enable_open_in_editor=True,
            reserve_space_for_menu=6 if commands else 0,
            input=create_input(sys.stdin),
            output=create_output(screen),
        )

    def read(self, draft: str, status: Callable[[], str]) -> str:
        """The next message; EOFError for Ctrl-D, and for Ctrl-C twice where nothing is typed."""

        def toolbar() -> AnyFormattedText:
            return [("class:status", _AGAIN if self._leaving else status())]

        self._session.bottom_toolbar = toolbar if status() or self._leaving else None
        while True:
            try:
                text = self._session.prompt(default=draft)
            except KeyboardInterrupt:
                draft = ""
                if self._session.default_buffer.text:
                    self._leaving = False
                elif self._leaving:
                    raise EOFError from None
                else:
                    self._leaving = True
                    print(_AGAIN, file=self._screen)
                continue
            self._leaving = False
            return text

    def _types_a_command(self) -> bool:
        return self._session.default_buffer.text.startswith("/")


def _keys() -> KeyBindings:
    """Enter sends; with Alt, as Ctrl-J, or behind a backslash, it breaks the line."""
    keys = KeyBindings()

    @keys.add("enter")
    def send(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.is_cursor_at_the_end and buffer.text.endswith("\\"):
            buffer.delete_before_cursor()
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def break_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


class _Commands(Completer):
    """Completes a command's name, and what may stand behind it."""

    def __init__(self, commands: "Mapping[str, Command]") -> None:
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """The words that the text before the cursor may become."""
        typed = document.text_before_cursor
        if not typed.startswith("/") or "\n" in typed:
            return
        name, blank, argument = typed[1:].partition(" ")
        if not blank:
            for known, command in self._commands.items():
                if known.startswith(name):
                    yield Completion(
                        known, -len(name), f"/{known} {command.argument}", command.help
                    )
        elif name in self._commands:
            command = self._commands[name]
            if command.argument == "FILE":
                yield from self._paths.get_completions(Document(argument), complete_event)
            for word in command.words():
                if word.startswith(argument):
                    yield Completion(word, -len(argument))
