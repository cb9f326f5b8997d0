"""Benchmarks of the lab itself: whether its generator is fast enough, whether it tells the truth, and what its own parts
cost the servers that it measures. Each runs as `python -m benchmarks.NAME` from the root of the checkout, as local processes
only, prints a table, and writes `benchmarks/results/NAME.yaml`; `--help` has its options. `--rounds` says how often everything
is started anew, which is how many independent samples there are; `--blocks` how often everything is measured in each. They
need two cores and, beside the lab, Debian's packages `wrk` and (for `generator`) `nginx-light`. `scale_out`, which asks what
machines more would cost, needs a Docker engine instead, and `efficiency` uses one where it answers."""
