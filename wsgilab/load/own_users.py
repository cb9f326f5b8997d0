"""The users of a Locust file of the user's own, and what their requests are recorded as.

They send with Locust's HttpUser or FastHttpUser, unchanged. What differs from the lab's own users: no request says from when on it is
void, and connections are kept as these clients do, which also open them anew without a word.
"""

# Locust patches the standard library for gevent when it is imported: it has to come first.
import locust  # noqa: F401  isort: skip

import functools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import gevent
from locust import User
from locust.clients import HttpSession
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment
from locust.exception import CatchResponseError
from locust.user.task import LOCUST_STATE_STOPPING

from wsgilab.load.locustfiles import fault
from wsgilab.load.recorder import LONGEST_ERROR, STAMP_HEADER, Recorder, Sample, header
from wsgilab.model.text import visible

LONGEST_NAME = 200
PAUSE_AFTER_ERROR_S = 0.1
"""After an exception in a task, so that a user who does nothing else leaves the others some time."""
USER = "wsgilab_user"
"""The key by which a request's context says whose it is."""


class OwnUser(User):
    """What each user of such a file is besides: a subclass of both is made of the file's class.

    Names of its own begin with `wsgilab`, so that the file may have any other.
    """

    abstract = True
    wsgilab_recorder: ClassVar["OwnRecorder | None"] = None
    """Of the trial that is under way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._wsgilab_under_way = 0
        self._wsgilab_is_leaving = False
        if OwnUser.wsgilab_recorder is not None:
            OwnUser.wsgilab_recorder.starting.add(id(self))
        client = getattr(self, "client", None)
        if isinstance(client, HttpSession | FastHttpSession):
            vars(client)["request"] = functools.partial(self._wsgilab_request, client.request)

    def context(self) -> dict[str, Any]:
        return {**super().context(), USER: id(self)}

    def on_start(self) -> None:
        recorder = OwnUser.wsgilab_recorder
        try:
            super().on_start()
        except Exception as error:  # noqa: BLE001 - whatever a file does
            self.environment.events.user_error.fire(user_instance=self, exception=error, tb=error.__traceback__)
            if recorder is not None:
                recorder.starting.discard(id(self))
            # Locust would end the user. So it is one who never has an answer, and the trial goes on.
            while True:
                gevent.sleep(60.0)
        if recorder is not None:
            # What came so far is no answer to a task of its.
            for users in (recorder.starting, recorder.answered, recorder.failed):
                users.discard(id(self))

    def on_stop(self) -> None:
        self._wsgilab_is_leaving = True
        super().on_stop()  # type: ignore[no-untyped-call]

    def stop(self, force: bool = False) -> bool:
        """End what is no request at once, such as a sleep in a task; a request that is under way is awaited."""
        return bool(super().stop(force or not self._wsgilab_under_way))

    def _wsgilab_request(self, send: Callable[..., Any], method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """Send a request by the client's own method."""
        if self._state == LOCUST_STATE_STOPPING and not self._wsgilab_is_leaving:
            # The trial is over: what the task has still to send would count for nothing.
            self._wsgilab_is_leaving = True
            raise gevent.GreenletExit
        began, began_ns = time.time(), time.monotonic_ns()
        self._wsgilab_under_way += 1
        try:
            return send(method, url, *args, **kwargs)
        except gevent.GreenletExit as error:
            # Locust's clients report nothing then.
            if OwnUser.wsgilab_recorder is not None:
                OwnUser.wsgilab_recorder.on_request(
                    request_type=method,
                    name=kwargs.get("name") or url,
                    response_time=(time.monotonic_ns() - began_ns) / 1e6,
                    context=self.context(),
                    exception=error,
                    start_time=began,
                )
            raise
        finally:
            self._wsgilab_under_way -= 1


class OwnRecorder(Recorder):
    """Understands the requests of Locust's own clients. What a file's own code fails with is a failure too."""

    def __init__(self, environment: Environment, path: str, file: Path) -> None:
        """Of the Locust file that the user calls `path`, and which is at `file`."""
        super().__init__()
        self._environment = environment
        self._path = path
        self._file = file
        OwnUser.wsgilab_recorder = self
        environment.events.user_error.add_listener(self._on_user_error)  # type: ignore[no-untyped-call]

    def _record(  # type: ignore[override]
        self,
        *,
        request_type: str = "",
        name: str = "",
        response_time: float | None = None,
        response_length: int | None = None,
        response: Any = None,
        context: Mapping[str, Any] | None = None,
        exception: BaseException | str | None = None,
        start_time: float | None = None,
        **_: Any,
    ) -> None:
        begun_ns = 0
        if start_time is not None:
            begun_ns = time.monotonic_ns() - round((time.time() - start_time) * 1e9)
        failure = CatchResponseError(exception) if isinstance(exception, str) else exception
        if failure and self._is_over(begun_ns):
            # Sent too late to count, as with the lab's own users.
            return
        super()._record(
            response_time=float(response_time or 0.0),
            response_length=response_length or 0,
            response=response,
            context={
                "user": (context or {}).get(USER, 0),
                "begun_ns": begun_ns,
                "name": request_name(request_type, name),
                "redirects": tuple(header(each, STAMP_HEADER) for each in getattr(response, "history", None) or ()),
            },
            exception=failure or None,
        )

    def _is_over(self, begun_ns: int) -> bool:
        """Whether the window had ended by then."""
        return 0 < getattr(self._environment.parsed_options, "window_end_ns", 0) < begun_ns + self.clock_offset_ns

    def _on_user_error(self, user_instance: Any, exception: BaseException, **_: Any) -> None:
        if not self._is_over(time.monotonic_ns()):
            self.failed.add(id(getattr(user_instance, "user", user_instance)))
            words = fault(self._path, exception, self._file)[:LONGEST_ERROR]
            self.samples.append(Sample(0.0, None, words, False, 0, 0.0))
        gevent.sleep(PAUSE_AFTER_ERROR_S)


def request_name(method: str, name: str) -> str:
    """What a request is called in figures: the name that the file gives it, or else its method and path."""
    named = f"{method} {name}" if name.startswith(("/", "http://", "https://")) else str(name)
    return " ".join(visible(named).split())[:LONGEST_NAME].rstrip()
