"""Speed, measured: one table of workloads (tests read it too), one engine, the README's table."""
