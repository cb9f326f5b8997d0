"""Which images are built, and which superseded. How they are built and removed is tested on a real engine (tests/contract)."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker.errors
import pytest

from wsgilab.runtime import images

OTHER, OWN = "wsgilab/own-gunicorn:other", "wsgilab/own-gunicorn:this"
KEPT = "wsgilab/own-image:kept"


@pytest.mark.parametrize(
    ("own", "name", "superseded"),
    [
        (None, "wsgilab/gunicorn:current", False),
        (None, "wsgilab/gunicorn:before", True),
        # A run of the lab's own application leaves them, so that the next run of the user's need not build them again.
        (None, OTHER, False),
        ({"gunicorn": OWN}, OTHER, True),
        ({"gunicorn": OWN}, OWN, False),
        ({"gunicorn": OWN}, KEPT, False),
        ({"gunicorn": OWN}, "wsgilab/swarm:current", False),
    ],
)
def test_images_of_a_users_application_stay_until_others_are_built(
    own: dict[str, str] | None, name: str, superseded: bool
) -> None:
    compose: Any = SimpleNamespace(tag="current", kept={KEPT}, own=None if own is None else SimpleNamespace(images=own))
    assert images._is_superseded(compose, name) is superseded


@pytest.mark.parametrize(("locust", "superseded"), [(None, False), ("wsgilab/own-swarm:a", False), ("b", True)])
def test_the_swarms_own_image_stays_where_targets_are_installed_on_the_same_engine(
    locust: str | None, superseded: bool
) -> None:
    given = None if locust is None else SimpleNamespace(name=locust)
    compose: Any = SimpleNamespace(own=SimpleNamespace(images={}), locust=given)
    assert images._is_superseded(compose, "wsgilab/own-swarm:a") is superseded


LAB_FILES, CATALOGUE = [Path("compose.yaml")], [Path("mine.yaml")]


@pytest.mark.parametrize(
    ("layers", "files", "built"),
    [
        (["base", "python", "swarm"], LAB_FILES, True),
        (None, LAB_FILES, False),
        # On a base image that was another one then.
        (["before", "python", "swarm"], LAB_FILES, False),
        # Of what a catalogue of the user's is built from, the tag says nothing.
        (["base", "python", "swarm"], CATALOGUE, False),
    ],
)
def test_an_image_that_is_built_is_not_built_again(layers: list[str] | None, files: list[Path], built: bool) -> None:
    there = {"base": ["base", "python"], "swarm:current": layers}

    def get(name: str) -> object:
        if there[name] is None:
            raise docker.errors.ImageNotFound(name)
        return SimpleNamespace(attrs={"RootFS": {"Layers": there[name]}})

    asked: list[tuple[str, ...]] = []

    def run(_project: str, _files: object, *words: str, **_: object) -> object:
        asked.append(words)
        return SimpleNamespace(code=0)

    compose: Any = SimpleNamespace(
        lab_files=LAB_FILES,
        base_image=lambda: "base",
        image=lambda stack: f"{stack}:current",
        client=SimpleNamespace(images=SimpleNamespace(get=get)),
        run=run,
    )
    images.build(compose, "swarm", "swarm", files)
    assert [words[-1] for words in asked] == ([] if built else ["swarm"])
