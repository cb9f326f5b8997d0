"""The interactive lab's web UI: Locust's own, with a tab that tells what the lab knows.

`server` runs in a process or container of its own, with Locust's master, and a `worker` on each of the generator's
cores; `client` is the lab's side of the conversation with it. `live` makes figures of what users saw, second by second,
and `page` makes HTML of them: both are pure.
"""
