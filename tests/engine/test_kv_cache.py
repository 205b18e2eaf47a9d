import numpy as np
import pytest

from cl_llama.engine.kv_cache import BlockPool, BlockTable


def opened(pool: BlockPool, tokens: list[int]) -> BlockTable:
    table = pool.open(tokens)
    assert table is not None
    return table


def test_a_table_has_room_for_its_tokens_and_no_block_more():
    pool = BlockPool(8, 4)
    for length, blocks in ((1, 1), (3, 1), (4, 1), (5, 2), (8, 2), (9, 3)):
        table = opened(pool, list(range(length)))
        assert len(table.blocks) == blocks
        pool.check([table])
        pool.close(table)
    assert pool.available == 8


def test_full_blocks_of_a_common_prefix_are_shared():
    pool = BlockPool(8, 4)
    first = opened(pool, list(range(10)))
    pool.publish(first, list(range(10)), 10)
    second = opened(pool, [*range(9), 77, 78])
    assert second.blocks[:2] == first.blocks[:2]
    assert second.blocks[2] != first.blocks[2]
    assert second.reused_tokens == 8
    pool.check([first, second])
    pool.close(first)
    pool.check([second])
    pool.close(second)
    pool.check([])
    assert pool.available == 8


@pytest.mark.parametrize(("length", "reused"), [(4, 0), (5, 4), (8, 4), (9, 8), (12, 8), (13, 12)])
def test_the_last_token_is_never_reused(length: int, reused: int):
    pool = BlockPool(8, 4)
    tokens = list(range(13))
    table = opened(pool, tokens)
    pool.publish(table, tokens, 13)
    pool.close(table)
    assert opened(pool, tokens[:length]).reused_tokens == reused


def test_a_block_is_found_only_behind_the_same_tokens():
    pool = BlockPool(8, 2)
    table = opened(pool, [1, 2, 3, 4, 5])
    pool.publish(table, [1, 2, 3, 4, 5], 5)
    assert opened(pool, [9, 2, 3, 4, 5]).reused_tokens == 0


def test_keys_with_equal_hashes_are_told_apart():
    pool = BlockPool(8, 2)
    table = opened(pool, [-1, 0, 0])  # hash(-1) == hash(-2), so the tuples' hashes are equal
    pool.publish(table, [-1, 0, 0], 3)
    assert hash((-1, 0)) == hash((-2, 0))
    assert opened(pool, [-2, 0, 0]).reused_tokens == 0
    assert opened(pool, [-1, 0, 0]).reused_tokens == 2


def test_blocks_that_are_not_computed_are_not_shared():
    pool = BlockPool(8, 2)
    tokens = [1, 2, 3, 4, 5]
    table = opened(pool, tokens)
    pool.publish(table, tokens, 3)
    assert opened(pool, tokens).reused_tokens == 2


def test_a_twin_gives_its_block_back_and_takes_the_known_one():
    pool = BlockPool(8, 2)
    tokens = [1, 2, 3]
    first, second = opened(pool, tokens), opened(pool, tokens)
    pool.publish(first, tokens, 2)
    pool.publish(second, tokens, 2)
    assert second.blocks[0] == first.blocks[0]
    assert second.blocks[1] != first.blocks[1]
    pool.check([first, second])
    assert pool.available == 8 - 3


def test_the_least_recently_used_block_is_evicted_first_and_children_before_parents():
    pool = BlockPool(4, 2)
    old, new = [1, 2, 3, 4, 0], [5, 6, 0]
    for tokens in (old, new):
        table = opened(pool, tokens)
        pool.publish(table, tokens, len(tokens) - 1)
        pool.close(table)
    pool.check([])
    pool.close(opened(pool, [8, 9]))  # one block was free
    held = opened(pool, [7, 7, 7])  # takes that one and evicts the deeper block of `old`
    pool.check([held])
    assert opened(pool, old[:3]).reused_tokens == 2
    assert pool.open(new) is None  # its reusable block is idle, but no other is left


def test_a_full_pool_opens_and_extends_nothing_and_stays_as_it_was():
    pool = BlockPool(2, 4)
    table = opened(pool, [1, 2, 3])
    other = opened(pool, [1])
    assert pool.open([5]) is None
    assert not pool.extend(table, 5)
    pool.check([table, other])
    pool.close(other)
    assert pool.extend(table, 8)
    pool.check([table])


def test_an_unshareable_table_neither_takes_nor_publishes():
    pool = BlockPool(8, 2)
    tokens = [1, 2, 3]
    table = pool.open(tokens, shareable=False)
    assert table is not None
    pool.publish(table, tokens, 3)
    shared = opened(pool, tokens)
    assert shared.reused_tokens == 0
    pool.publish(shared, tokens, 3)
    unshared = pool.open(tokens, shareable=False)
    assert unshared is not None
    assert unshared.reused_tokens == 0
    pool.check([table, shared, unshared])


def test_forget_frees_all_idle_blocks():
    pool = BlockPool(4, 2)
    table = opened(pool, [1, 2, 3])
    pool.publish(table, [1, 2, 3], 3)
    pool.close(table)
    pool.forget()
    pool.check([])
    assert opened(pool, [1, 2, 3]).reused_tokens == 0


@pytest.mark.parametrize("seed", range(5))
def test_random_use_keeps_the_books(seed: int):
    random = np.random.default_rng(seed)
    pool = BlockPool(12, 2)
    content: dict[int, tuple[int, ...]] = {}  # what was computed into each block, prefix included
    live: list[tuple[BlockTable, list[int], int]] = []
    for _ in range(600):
        action = random.integers(4)
        if action == 0:
            tokens = random.integers(0, 2, random.integers(1, 12)).tolist()
            table = pool.open(tokens)
            if table is not None:
                for index in range(table.reused_tokens // 2):
                    assert content[table.blocks[index]] == tuple(tokens[: 2 * index + 2])
                live.append((table, tokens, table.reused_tokens))
        elif live:
            index = int(random.integers(len(live)))
            table, tokens, computed = live.pop(index)
            if action == 1:
                pool.close(table)
                pool.check([table for table, _, _ in live])
                continue
            if action == 2:
                tokens = [*tokens, int(random.integers(2))]
                if not pool.extend(table, len(tokens)):
                    tokens.pop()
            else:
                end = int(random.integers(computed, len(tokens) + 1))
                for block in range(computed // 2, end // 2):
                    content[table.blocks[block]] = tuple(tokens[: 2 * block + 2])
                computed = end
                pool.publish(table, tokens, computed)
            live.insert(index, (table, tokens, computed))
        pool.check([table for table, _, _ in live])
