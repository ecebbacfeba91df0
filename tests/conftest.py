"""What every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Speed is measured by `make bench`: a busy machine must not fail a test of what is right.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (its README says what is in it); a test that needs it is skipped without it.

    Looked for in CRUOR_SHARED, else beside the repository; where CI=true it must be there.
    """
    shared = Path(os.environ.get("CRUOR_SHARED") or Path(__file__).parents[2] / "shared")
    data = shared / "data"
    if not data.is_dir():
        reason = f"no real data at {data} (set CRUOR_SHARED)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return data
