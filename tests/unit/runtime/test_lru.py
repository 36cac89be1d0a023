"""A few values that are kept by key."""

from service.runtime.lru import Recent


def test_the_value_that_was_not_used_for_longest_makes_room() -> None:
    """A value is made once while it is kept; beyond the bound, the least recently used is made again."""
    made: list[str] = []
    recent = Recent[str, str](most=2)

    def get(key: str) -> str:
        return recent.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in ("a", "b", "a", "c")] == ["A", "B", "A", "C"]
    assert made == ["a", "b", "c"]
    assert [get("a"), get("b")] == ["A", "B"]
    assert made == ["a", "b", "c", "b"]
