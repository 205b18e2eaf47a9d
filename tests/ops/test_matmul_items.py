"""How a product on a matrix unit is divided into work-items."""

import pytest

from cl_llama.ops.matmul_amx import divide


@pytest.mark.parametrize("items", [1, 8, 64, 400])
@pytest.mark.parametrize("groups", [1, 2, 5, 16, 17, 33])
@pytest.mark.parametrize("blocks", [1, 3, 64, 176])
def test_division(blocks: int, groups: int, items: int) -> None:
    n, t = divide(blocks, groups, items)
    assert 1 <= n <= 4
    assert 1 <= t <= 16
    made = -(-blocks // n) * -(-groups // t)
    assert made >= items or (n == 1 and t <= 4)


def test_division_of_a_large_product() -> None:
    """A few cores take the largest items; more cores halve the tokens before the weights."""
    assert divide(176, 16, 8) == (4, 16)
    assert divide(64, 16, 64) == (4, 4)
    assert divide(64, 16, 224) == (1, 4)
