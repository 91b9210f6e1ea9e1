"""Chance that is not torch's: NumPy's and Python's own, which a recipe or its augmentation may draw from."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def seed_libraries(*numbers: int) -> None:
    """Begin NumPy's and Python's chance anew, from these numbers alone."""
    random.seed(repr(numbers))
    np.random.seed([number % 2**32 for number in numbers])


@contextmanager
def libraries_kept() -> Iterator[None]:
    """Let NumPy's and Python's chance go on after the block as if it had drawn nothing."""
    own, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(own)
        np.random.set_state(numpys)
