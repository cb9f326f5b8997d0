"""Benchmarks of the lab itself: is its generator fast enough, are its figures true, and what do its parts cost the
servers?

Each runs as `python -m benchmarks.NAME` from the root of the checkout, prints a table, and writes
`benchmarks/results/NAME.yaml`; `--help` lists its options. `--rounds` is how often everything is started anew, which
is how many independent samples there are; `--blocks` is how often everything is measured in each round. They need
two cores and, beside the lab, Debian's packages `wrk` and (for `generator`) `nginx-light`. `scale_out` needs a
Docker engine; `disturbed` and `efficiency` use one where it answers.
"""
