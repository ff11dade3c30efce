"""A stream given to several functions at once."""

from __future__ import annotations

import threading

import pytest

from ben_luigi.domain.fanout import FanOut

CHUNKS = [bytes([number]) * 3 for number in range(40)]


def test_every_sink_gets_all_chunks_in_order() -> None:
    taken: list[list[bytes]] = [[], [], []]
    with FanOut([sink.append for sink in taken], ahead=2) as fan_out:
        for chunk in CHUNKS:
            fan_out.put(chunk)
        fan_out.finish()
        assert taken == [CHUNKS] * 3


def test_a_sink_that_lags_behind_holds_up_who_puts() -> None:
    go_on, put = threading.Event(), []

    def feed(fan_out: FanOut) -> None:
        for chunk in CHUNKS:
            fan_out.put(chunk)
            put.append(chunk)

    with FanOut([lambda _: go_on.wait()], ahead=3) as fan_out:
        feeder = threading.Thread(target=feed, args=(fan_out,))
        feeder.start()
        while len(put) < 3:
            feeder.join(0.01)
        feeder.join(0.05)
        assert len(put) == 3
        go_on.set()
        feeder.join()
        assert put == CHUNKS


def test_an_error_of_a_sink_reaches_who_puts() -> None:
    def full(_: bytes) -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"), FanOut([full, bytes], ahead=1) as fan_out:
        for chunk in CHUNKS:
            fan_out.put(chunk)
        fan_out.finish()
