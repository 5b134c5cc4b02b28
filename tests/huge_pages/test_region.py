"""Regions of huge pages, on a machine that has reserved some: ``sysctl vm.nr_hugepages=2``."""

import pytest

from underpass import MisuseError, OutOfSpaceError, Region


def test_a_region_of_huge_pages() -> None:
    try:
        region = Region(3 << 20, huge=True)
    except OutOfSpaceError as error:
        pytest.skip(f"no huge pages on this machine: {error.remedy}")
    region[0:2], region[-1] = b"ab", 7
    assert (len(region), region.statistics().huge, region[0:2]) == (3 << 20, True, b"ab")
    with pytest.raises(MisuseError, match="huge pages"):
        region.resize(8 << 20)
