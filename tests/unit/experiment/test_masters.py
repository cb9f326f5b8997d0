"""What may be done to a server in the middle of a trial, and whose workers end by themselves."""

from collections.abc import Mapping

import pytest

from wsgilab import testing
from wsgilab.experiment.masters import refusal, replaces_workers
from wsgilab.model import Action

UWSGI = ("uwsgi", "--http-socket=127.0.0.1:1", "--processes=2")


@pytest.mark.parametrize(
    ("command", "do", "says"),
    [
        (("gunicorn", "app:app"), "reload", None),
        (("/opt/stack/bin/gunicorn", "app:app"), "kill-worker", None),
        (("granian", "app:app"), "reload", None),
        ((*UWSGI, "--master"), "reload", None),
        ((*UWSGI, "-M"), "kill-worker", None),
        (("waitress-serve", "app:app"), "stop", None),
        (
            ("waitress-serve", "app:app"),
            "reload",
            "a master process that reloads at SIGHUP; name a server of gunicorn, granian, uwsgi",
        ),
        (
            ("waitress-serve", "app:app"),
            "kill-worker",
            "a master process that starts another worker in place of one; name",
        ),
        # The first process is not Gunicorn's.
        (("python", "-m", "wsgilab_door.behind_nginx", "gunicorn", "app:app"), "reload", "not known"),
        (UWSGI, "reload", "without --master uWSGI has no process for that; add the option"),
    ],
)
def test_only_that_is_done_to_a_server_which_its_master_is_known_to_understand(
    command: tuple[str, ...], do: Action, says: str | None
) -> None:
    found = refusal(testing.server(command=command), do)

    assert found is says if says is None else says in (found or "")


def test_nothing_is_done_to_a_server_that_is_not_the_labs() -> None:
    assert "not the lab's" in (refusal(testing.server(stack="", command=("http://localhost",)), "stop") or "")


@pytest.mark.parametrize(
    ("command", "environment", "are"),
    [
        (("gunicorn", "app:app"), {}, False),
        (("gunicorn", "--max-requests=100", "app:app"), {}, True),
        (("gunicorn", "--max-requests", "100", "app:app"), {}, True),
        (("gunicorn", "app:app"), {"GUNICORN_CMD_ARGS": "--bind=x --max-requests=100"}, True),
        (("gunicorn", "app:app"), {"GUNICORN_CMD_ARGS": "'"}, False),
        (("gunicorn", "app:app"), {"LAB_GUNICORN_CONF": '"max_requests = 100"'}, True),
        (("granian", "--workers-lifetime=60", "app:app"), {}, True),
    ],
)
def test_workers_that_end_by_themselves_are_known_by_an_option(
    command: tuple[str, ...], environment: Mapping[str, str], are: bool
) -> None:
    assert replaces_workers(testing.server(command=command, environment=environment)) is are
