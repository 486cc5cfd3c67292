"""Which records of a table are looked at."""

import numpy as np

from lipverify.audit.table import Records


def sampled(records: Records, count: int | None, seed: int) -> tuple[int, ...]:
    """Positions among the usable records, in order: all, or `count` drawn without repetition."""
    every = range(len(records.numbers))
    if count is None or count >= len(every):
        return tuple(every)
    drawn = np.random.default_rng(seed).choice(len(every), size=count, replace=False)
    return tuple(sorted(int(position) for position in drawn))
