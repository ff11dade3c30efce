"""Tasks that are true only as long as what they are derived from is.

Luigi asks a task whether it is complete before anything runs, and never again. So a task whose result is there counts
as incomplete while something that it is derived from is: it is then run in its turn, and makes its result anew only if
what it is made from has changed by then.
"""

from __future__ import annotations

from typing import Any

import luigi
from luigi.task import flatten

from ben_luigi.state.targets import snapshot


class Derived(luigi.Task):
    """A task with a result that other results of the pipeline go into."""

    unchanged = False

    def complete(self) -> bool:
        """Whether its result is there, made from what is asked for now, and everything that it is derived from."""
        with snapshot() as seen:
            if self.task_id not in seen.answers:
                before = (task for task in self.deps() if isinstance(task, Derived))
                seen.answers[self.task_id] = all(task.complete() for task in before) and self.is_there()
            return seen.answers[self.task_id]

    def is_there(self) -> bool:
        """Whether its own result is there, made from what is asked for now."""
        return all(target.exists() for target in flatten(self.output()))

    def run(self) -> Any:
        """Make the result, unless it turns out to be true still."""
        self.unchanged = bool(flatten(self.output())) and self.is_there()
        return None if self.unchanged else self.make()

    def make(self) -> Any:
        """Make the result; may yield tasks, as Luigi's `run`."""
        raise NotImplementedError
