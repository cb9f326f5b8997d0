"""The web UI of the interactive lab and of watched runs: Locust's own, with a tab for what the lab knows.

`server` runs in a process or container of its own, with Locust's master and a `worker` on each of the generator's cores;
`client` is the lab's side of the channel to it. `live` makes figures of users' samples, second by second, `sources` holds
what there is to show, and `tab` makes HTML of it.
"""
