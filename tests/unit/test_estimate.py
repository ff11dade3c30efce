from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ben_luigi.domain.dataset.estimate import EVERYTHING, Retention, Work
from ben_luigi.domain.placement.grid import TILE_SIDE_M

REAL = Work(tiles=125, downloads_bytes=[None] * 125, conversions=125, cuts=125, archives=True)

works = st.builds(
    Work,
    tiles=st.integers(1, 200),
    downloads_bytes=st.lists(st.none() | st.integers(0, 2 * 10**9), max_size=20),
    conversions=st.integers(0, 200),
    cuts=st.integers(0, 200),
    archives=st.booleans(),
    side_m=st.sampled_from([TILE_SIDE_M, 12_180]),
    from_l1c=st.booleans(),
    from_cdse=st.booleans(),
    collects_s1=st.booleans(),
    downloads_at_once=st.integers(1, 4),
    conversions_at_once=st.integers(1, 64),
    tasks_at_once=st.integers(1, 64),
    rate_bytes_s=st.sampled_from([0.0, 1e6]),
)


def test_the_real_run_by_hand() -> None:
    """Restated: 125 zips of 1 GB at 20 MB/s; 6 to 40 minutes a tile; what is kept at the end, archive parts twice."""
    assert REAL.download_bytes() == 125e9
    assert REAL.quota() == pytest.approx(125 / 12_000)
    assert REAL.hours()["download"][0] == pytest.approx(125e9 / 20e6 / 3600)
    assert REAL.hours()["Sen2Cor"] == pytest.approx((12.5, 83.3), abs=0.1)
    maps = 125 * 4_760 * 2_000
    archives = 125 * 824e6 / 1.83 + 125 * 4_760 * 118_272 + maps
    kept = 125e9 + 125 * 1.2e9 + 125 * 824e6 + maps + 2 * archives
    assert REAL.peak_bytes(Retention()) == pytest.approx(kept + 125 * 8_281 * 2_000, rel=0.01)
    s1 = replace(REAL, collects_s1=True).peak_bytes(Retention()) - REAL.peak_bytes(Retention())
    assert s1 == pytest.approx(125 * 4_760 * 118_272)


def test_what_a_recipe_keeps_adds_is_estimated() -> None:
    """All patches of a tile instead of those of v1; bytes of a layer with its headers; no Sentinel-1."""
    one = replace(REAL, tiles=1, conversions=0, from_l1c=False, from_cdse=False, has_s1=False)
    plain = one.peak_bytes(EVERYTHING)
    shard, maps = 824e6, 4_760 * 2_000
    fixed = 5e7 + 1e9 + 8_281 * 2_000
    assert plain == pytest.approx(fixed + shard + maps + 2 * shard / 1.83 + maps)
    layer = 4_760 * (60 * 60 * 4 + 1_536)
    assert replace(one, layers_bytes_m2=4 / 20**2, layer_files=1).peak_bytes(EVERYTHING) == pytest.approx(
        plain + 2 * layer
    )
    files = replace(one, layers_bytes_m2=4 / 20**2, layer_files=3)
    assert files.peak_bytes(EVERYTHING) == pytest.approx(plain + 2 * (layer + 4_760 * 2 * 1_536))
    assert replace(one, keeps_all=True).peak_bytes(EVERYTHING) - fixed == pytest.approx(8_281 / 4_760 * (plain - fixed))
    larger, smaller = (replace(one, patch_m=side).peak_bytes(EVERYTHING) for side in (2400, 120))
    assert larger < plain < smaller, "each file has headers, each patch rows"


@given(works)
def test_retention_never_needs_more_and_time_never_ends_before_it_begins(work: Work) -> None:
    all_kept = work.peak_bytes(Retention())
    for option in (Retention(l1c=True), Retention(l2a=True), Retention(parts=True)):
        assert work.peak_bytes(EVERYTHING) <= work.peak_bytes(option) <= all_kept
    best, worst = work.total_hours()
    assert 0 <= best <= worst
    assert all(0 <= quick <= slow for quick, slow in work.hours().values())


def test_a_limit_of_the_rate_lengthens_the_downloads_and_more_hosts_shorten_them() -> None:
    def hours(**options: float) -> float:
        return Work(**{**REAL.__dict__, **options}).hours()["download"][0]

    assert hours(downloads_at_once=4) == pytest.approx(hours() / 4)
    assert hours(rate_bytes_s=10e6) == pytest.approx(hours() * 2)
