"""The values that travel round the circle: data, runs, models, verdicts, releases, health, lineage."""
