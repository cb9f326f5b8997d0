"""What the kernel says of a server's processes."""

import os

from wsgilab.model import Memory
from wsgilab.runtime.procfs import numbered, processes_here, rollups, total

ROLLUP = """\
5581b2f2a000-7ffd4a5f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               {rss} kB
Pss:               {pss} kB
Pss_Dirty:           900 kB
Shared_Clean:       7000 kB
Private_Clean:       100 kB
Private_Dirty:       200 kB
Private_Hugetlb:       0 kB
"""


def test_what_processes_share_counts_in_parts_and_what_one_has_alone_is_private() -> None:
    text = "".join(ROLLUP.format(rss=8000, pss=pss) for pss in (3000, 500))

    assert total(text) == Memory(pss_bytes=3500 * 1024, private_bytes=600 * 1024)


def test_where_one_process_cannot_be_read_nothing_is_known() -> None:
    assert total(ROLLUP.format(rss=8000, pss=3000) + "unreadable\n") is None
    assert total("") is None
    assert total(None) is None


def test_the_files_of_this_process_are_read_and_those_of_one_that_has_ended_are_not_there() -> None:
    found = total(rollups([os.getpid(), 2**22 + 1]))

    assert found is not None
    assert found.pss_bytes >= found.private_bytes > 1_000_000


def test_processes_of_a_container_are_those_whose_control_group_names_it() -> None:
    assert processes_here("of-no-container", os.getpid()) == ()
    assert processes_here("of-no-container", 0) == ()


def test_a_process_is_found_by_the_number_that_it_has_for_itself() -> None:
    # Which is the same here, outside of any container.
    assert numbered([2**22 + 1, os.getppid(), os.getpid()], os.getpid()) == os.getpid()
    assert numbered([os.getppid()], os.getpid()) is None
