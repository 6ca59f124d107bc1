"""Where a run comes from: git commit, uncommitted changes, environment and process."""
