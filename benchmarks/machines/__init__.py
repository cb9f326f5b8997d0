"""What `benchmarks.scale_out` is made of: measurements of what one machine more costs, and a simulation of many."""
