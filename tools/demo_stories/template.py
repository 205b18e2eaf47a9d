"""Sentence templates: text with choices ``{a|b}``, options ``[a]`` and slots ``<he>``.

A template renders with a random source and the facts known so far, and reads as a regular
expression whose matches yield the facts that the sentence states.
"""

import random
import re
from dataclasses import dataclass, field

from .lexicon import MACROS, SLOTS, Facts

_TOKEN = re.compile(r"[{|}\[\]]|<(\w+)>|[^{|}\[\]<]+")


@dataclass(frozen=True)
class _Text:
    text: str


@dataclass(frozen=True)
class _Slot:
    name: str


@dataclass(frozen=True)
class _Choice:
    branches: tuple[tuple["_Node", ...], ...]


_Node = _Text | _Slot | _Choice


def _parse(source: str) -> tuple[_Node, ...]:
    for name, expansion in MACROS.items():
        source = source.replace(f"<{name}>", expansion)
    tokens = list(_TOKEN.finditer(source))
    position = 0

    def sequence() -> tuple[_Node, ...]:
        nonlocal position
        nodes: list[_Node] = []
        while position < len(tokens) and tokens[position][0] not in ("|", "}", "]"):
            token = tokens[position]
            position += 1
            if token[1]:
                if token[1] not in SLOTS:
                    raise ValueError(f"unknown slot <{token[1]}> in template {source!r}")
                nodes.append(_Slot(token[1]))
            elif token[0] in ("{", "["):
                branches = [sequence()]
                while position < len(tokens) and tokens[position][0] == "|":
                    position += 1
                    branches.append(sequence())
                if position == len(tokens) or tokens[position][0] != (
                    "}" if token[0] == "{" else "]"
                ):
                    raise ValueError(f"brackets do not pair in template {source!r}")
                position += 1
                if token[0] == "[":
                    branches.append(())
                nodes.append(_Choice(tuple(branches)))
            else:
                nodes.append(_Text(token[0]))
        return tuple(nodes)

    nodes = sequence()
    if position != len(tokens):
        raise ValueError(f"brackets do not pair in template {source!r}")
    return nodes


@dataclass(frozen=True)
class Template:
    """One or more whole sentences; ``states`` are facts that choosing it states.

    ``recalls``: it comes back to a detail that was told once and far away; plain stories do not.
    """

    source: str
    states: Facts = field(default_factory=dict)
    recalls: bool = False

    def __post_init__(self) -> None:
        """Parse the source; ``ValueError`` when its brackets or slots are wrong."""
        nodes = _parse(self.source)
        slots: list[str] = []
        pattern = _pattern(nodes, slots)
        object.__setattr__(self, "_nodes", nodes)
        object.__setattr__(self, "_slots", tuple(slots))
        object.__setattr__(self, "_regex", re.compile(pattern + r"(?=\s|$)"))

    def render(self, rng: random.Random, facts: dict[str, str]) -> str:
        """Text that agrees with ``facts``; facts that the text adds are added to them."""
        facts.update(self.states)
        return "".join(_render(self._nodes, rng, facts))  # type: ignore[attr-defined]

    def read(self, text: str, start: int) -> tuple[int, list[tuple[str, str]]] | None:
        """End of this template's match at ``start`` and the facts it states; None: no match."""
        match = self._regex.match(text, start)  # type: ignore[attr-defined]
        if match is None:
            return None
        stated = list(self.states.items())
        for name, surface in zip(self._slots, match.groups(), strict=True):  # type: ignore[attr-defined]
            if surface is not None:
                stated += SLOTS[name][surface].items()
        return match.end(), stated


def agrees(facts: Facts, known: Facts) -> bool:
    """Whether no fact contradicts one that is known."""
    return all(known.get(key, value) == value for key, value in facts.items())


def _render(nodes: tuple[_Node, ...], rng: random.Random, facts: dict[str, str]) -> list[str]:
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, _Text):
            parts.append(node.text)
        elif isinstance(node, _Slot):
            slot = SLOTS[node.name]
            surface = rng.choice([form for form in slot if agrees(slot[form], facts)])
            facts.update(slot[surface])
            parts.append(surface)
        else:
            parts += _render(rng.choice(node.branches), rng, facts)
    return parts


def _pattern(nodes: tuple[_Node, ...], slots: list[str]) -> str:
    parts: list[str] = []
    for node in nodes:
        if isinstance(node, _Text):
            parts.append(re.escape(node.text))
        elif isinstance(node, _Slot):
            slots.append(node.name)
            parts.append("(" + "|".join(map(re.escape, SLOTS[node.name])) + ")")
        else:
            parts.append("(?:" + "|".join(_pattern(b, slots) for b in node.branches) + ")")
    return "".join(parts)
