"""The swarm: simulated users, run by Locust on the generator's own cores.

`driver` runs inside the generator's process or container and imports Locust; `client` is the lab's side of the channel to
it. Neither imports the other.
"""
