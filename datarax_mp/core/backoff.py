"""How long to wait before something that has failed is tried again."""

_FIRST, _LONGEST = 0.1, 10.0


def pause(tried: int) -> float:
    """Seconds to wait after so many attempts, twice as long each time.

    >>> [pause(tried) for tried in (1, 2, 3, 100)]
    [0.1, 0.2, 0.4, 10.0]
    """
    return min(_FIRST * 2 ** (tried - 1), _LONGEST)
