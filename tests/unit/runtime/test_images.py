"""Which images are superseded. How they are built and removed is tested on a real engine (tests/contract)."""

from types import SimpleNamespace
from typing import Any

import pytest

from wsgilab.runtime import images

OTHER, OWN = "wsgilab/own-gunicorn:other", "wsgilab/own-gunicorn:this"


@pytest.mark.parametrize(
    ("own", "name", "superseded"),
    [
        (None, "wsgilab/gunicorn:current", False),
        (None, "wsgilab/gunicorn:before", True),
        # A run of the lab's own application leaves them, so that the next run of the user's need not build them again.
        (None, OTHER, False),
        ({"gunicorn": OWN}, OTHER, True),
        ({"gunicorn": OWN}, OWN, False),
        ({"gunicorn": OWN}, "wsgilab/swarm:current", False),
    ],
)
def test_images_of_a_users_application_stay_until_others_are_built(
    own: dict[str, str] | None, name: str, superseded: bool
) -> None:
    compose: Any = SimpleNamespace(tag="current", own=None if own is None else SimpleNamespace(images=own))
    assert images._is_superseded(compose, name) is superseded
