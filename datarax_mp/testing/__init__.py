"""Checks of what a user's own sources, stages and pipelines have to keep, for the user's tests and for ours.

    from datarax_mp.testing import assert_same_stream, check_resume, check_source, check_stage, kill_workers

Each says in an ``AssertionError`` what is wrong, where, and what to do about it. The fixture ``leaves_nothing_behind``
is in a plugin for pytest that a ``conftest.py`` asks for:

    pytest_plugins = ["datarax_mp.testing.plugin"]
"""

from datarax_mp.testing.processes import kill_workers as kill_workers
from datarax_mp.testing.sources import check_source as check_source
from datarax_mp.testing.stages import check_stage as check_stage
from datarax_mp.testing.streams import assert_same_stream as assert_same_stream
from datarax_mp.testing.streams import check_resume as check_resume
