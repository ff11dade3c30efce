"""Pass a stream of chunks to several functions at once, each in a thread of its own, a few chunks behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor


class FanOut:
    """Pass each chunk to every one of `sinks`, in order; up to `ahead` chunks may wait for the slowest of them.

    Hashing and writing release the interpreter lock, so the whole takes as long as the slowest sink. An error of a sink
    is raised by a later `put`, or by `finish`. Use it in a `with` block, which ends the threads.
    """

    def __init__(self, sinks: Iterable[Callable[[bytes], object]], ahead: int) -> None:
        self._sinks = [(ThreadPoolExecutor(1, "fan-out"), sink) for sink in sinks]
        self._ahead = ahead
        self._under_way: deque[Future[object]] = deque()

    def __enter__(self) -> FanOut:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the threads, once they have processed what was put."""
        for thread, _sink in self._sinks:
            thread.shutdown()

    def put(self, chunk: bytes) -> None:
        """Take the next chunk; wait if the sinks lag behind."""
        self._under_way.extend(thread.submit(sink, chunk) for thread, sink in self._sinks)
        self._wait(self._ahead * len(self._sinks))

    def finish(self) -> None:
        """Wait until every sink has processed everything that was put."""
        self._wait(0)

    def _wait(self, most: int) -> None:
        while len(self._under_way) > most:
            self._under_way.popleft().result()
