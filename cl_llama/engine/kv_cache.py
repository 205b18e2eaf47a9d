"""Which cache block holds which positions: a pool of blocks, shared by sequences with one prefix.

The cache itself lives in the model; here are only the block numbers. Position p of a sequence lies
in slot p % block_size of block `table.blocks[p // block_size]`. A block whose every slot has been
computed can be *published*: the pool then finds it for any sequence that begins with the same
tokens. Only full blocks are published and no sequence writes to a published block, so blocks are
shared without ever being copied.

Published blocks form a tree. A block's key is its parent's number and its own token ids, and a
dictionary compares keys, so a hit is exact whatever the ids hash to. A table that holds a block
holds its parents too, and blocks are given back deepest first; hence children are always evicted
before their parents, and a parent's number is a sound part of the key.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

_Key: TypeAlias = tuple[int, tuple[int, ...]]
_ROOT = -1


@dataclass(eq=False)
class BlockTable:
    """The blocks of one sequence, first positions first. Only its pool changes it."""

    shareable: bool
    """Whether the sequence takes published blocks and publishes its own."""
    blocks: list[int] = field(default_factory=list)
    reused_tokens: int = 0
    """Positions that were in the cache when the table was opened."""
    published: int = 0
    """How many of the first blocks are in the pool's tree."""


class BlockPool:
    """`num_blocks` blocks of `block_size` positions, counted by reference.

    A block is free, held by one table or more, or idle: published, held by nobody, kept until its
    room is needed. The idle block that was given back first is evicted first.
    """

    def __init__(self, num_blocks: int, block_size: int) -> None:
        """All blocks are free."""
        self.num_blocks = num_blocks
        self.block_size = block_size
        self._references = [0] * num_blocks
        self._free = list(range(num_blocks - 1, -1, -1))
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._tree: dict[_Key, int] = {}
        self._keys: dict[int, _Key] = {}

    @property
    def available(self) -> int:
        """Blocks that a table could get: free and idle ones."""
        return len(self._free) + len(self._idle)

    @property
    def idle(self) -> int:
        """Blocks that nobody holds and that a prompt with their tokens would find."""
        return len(self._idle)

    def open(self, token_ids: Sequence[int], *, shareable: bool = True) -> BlockTable | None:
        """A table with room for `token_ids`, or None while too few blocks are available.

        It begins with the published blocks of the same prefix. The last token is never among the
        reused ones: its logits are what the caller is after.
        """
        reused = self._find(token_ids) if shareable else []
        needed = self._blocks_for(len(token_ids)) - len(reused)
        if needed > self.available - sum(block in self._idle for block in reused):
            return None
        for block in reused:
            self._hold(block)
        table = BlockTable(
            shareable,
            reused,
            reused_tokens=len(reused) * self.block_size,
            published=len(reused),
        )
        for _ in range(needed):
            table.blocks.append(self._take())
        return table

    def extend(self, table: BlockTable, length: int) -> bool:
        """Give the table room for `length` positions; False, and no change, if the pool is full."""
        needed = self._blocks_for(length) - len(table.blocks)
        if needed > self.available:
            return False
        for _ in range(needed):
            table.blocks.append(self._take())
        return True

    def trim(self, table: BlockTable, length: int) -> None:
        """Take back the blocks beyond `length` positions, of which none is published."""
        while len(table.blocks) > self._blocks_for(length):
            self._give_back(table.blocks.pop())

    def adopt(self, table: BlockTable, token_ids: Sequence[int], computed: int) -> int:
        """Take blocks that others have published in place of the table's next, uncomputed ones.

        Returns how many positions are in the cache then; the last token's is never among them.
        """
        if not table.shareable:
            return computed
        last = (len(token_ids) - 1) // self.block_size
        while computed == table.published * self.block_size and table.published < last:
            index = table.published
            known = self._tree.get(self._key(table.blocks, index, token_ids))
            if known is None:
                break
            self._replace(table, index, known)
            table.published = index + 1
            computed += self.block_size
        return computed

    def publish(self, table: BlockTable, token_ids: Sequence[int], computed: int) -> None:
        """Publish the blocks that are full now that `computed` positions are in the cache.

        Where another sequence has published the same tokens in the meantime, the table takes that
        block over and gives its own back.
        """
        if not table.shareable:
            return
        for index in range(table.published, computed // self.block_size):
            key = self._key(table.blocks, index, token_ids)
            own, known = table.blocks[index], self._tree.get(key)
            if known is None:
                self._tree[key] = own
                self._keys[own] = key
            else:
                self._replace(table, index, known)
            table.published = index + 1

    def close(self, table: BlockTable) -> None:
        """Give all of the table's blocks back; published ones stay findable until evicted."""
        for block in reversed(table.blocks):
            self._give_back(block)
        table.blocks.clear()
        table.published = 0

    def forget(self) -> None:
        """Make all idle blocks free, because what they hold can no longer be trusted.

        No table may be open.
        """
        self._free.extend(self._idle)
        self._idle.clear()
        self._tree.clear()
        self._keys.clear()

    def check(self, tables: Iterable[BlockTable]) -> None:
        """Raise AssertionError unless the books agree with `tables`, all the open ones."""
        held = [0] * self.num_blocks
        for table in tables:
            assert len(set(table.blocks)) == len(table.blocks), "a table holds a block twice"
            for index, block in enumerate(table.blocks):
                held[block] += 1
                assert (block in self._keys) == (index < table.published)
                if index < table.published:
                    parent = table.blocks[index - 1] if index else _ROOT
                    assert self._keys[block][0] == parent, "a published block follows another one"
        assert held == self._references, "reference counts differ from the tables"
        free, idle = set(self._free), set(self._idle)
        assert len(free) == len(self._free), "a block is free twice"
        unheld = {block for block, count in enumerate(held) if count == 0}
        assert free | idle == unheld, "a block is lost or held and free at once"
        assert not free & idle
        assert not free & self._keys.keys(), "a free block is published"
        assert idle <= self._keys.keys(), "an idle block is not published"
        assert {block: key for key, block in self._tree.items()} == self._keys
        age = {block: index for index, block in enumerate(self._idle)}
        for block, (parent, ids) in self._keys.items():
            assert len(ids) == self.block_size
            if parent != _ROOT:
                assert parent in self._keys, "a parent was evicted before its child"
                assert held[parent] >= held[block]
                assert parent not in age or age[block] < age[parent]

    def _blocks_for(self, length: int) -> int:
        return -(-length // self.block_size)

    def _key(self, blocks: Sequence[int], index: int, token_ids: Sequence[int]) -> _Key:
        start = index * self.block_size
        parent = blocks[index - 1] if index else _ROOT
        return parent, tuple(token_ids[start : start + self.block_size])

    def _find(self, token_ids: Sequence[int]) -> list[int]:
        found: list[int] = []
        for index in range((len(token_ids) - 1) // self.block_size):
            block = self._tree.get(self._key(found, index, token_ids))
            if block is None:
                break
            found.append(block)
        return found

    def _replace(self, table: BlockTable, index: int, known: int) -> None:
        """Give a block of the table back for a published one of the same tokens."""
        self._hold(known)
        own, table.blocks[index] = table.blocks[index], known
        self._give_back(own)

    def _hold(self, block: int) -> None:
        self._references[block] += 1
        self._idle.pop(block, None)

    def _take(self) -> int:
        """A block for one table, evicting the idle block that was given back first."""
        if self._free:
            block = self._free.pop()
        else:
            block, _ = self._idle.popitem(last=False)
            del self._tree[self._keys.pop(block)]
        self._references[block] = 1
        return block

    def _give_back(self, block: int) -> None:
        self._references[block] -= 1
        if self._references[block] > 0:
            return
        if block in self._keys:
            self._idle[block] = None
        else:
            self._free.append(block)
