"""The runtimes: where targets run. `compose` in containers, `local` as processes; one Protocol, one contract suite."""
