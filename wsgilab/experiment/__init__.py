"""What is to be measured: the catalogue, workloads, sites, and experiments from their files to a schedule. Pure."""
