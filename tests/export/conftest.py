"""What the tests of the export share."""

import contextlib

import pytest


class RecordedStages:
    """Stages that keep their names in order, and for each the total and what was done of it."""

    def __init__(self):
        self.names, self.totals, self.done = [], [], []

    @contextlib.contextmanager
    def stage(self, name, total=None):
        self.names.append(name)
        self.totals.append(total)
        self.done.append(0)
        number = len(self.done) - 1

        def advance(amount):
            self.done[number] += amount

        yield advance


@pytest.fixture
def stages():
    return RecordedStages()
