"""The training loop of one rank: chunks of steps, prefetching, early stopping, validation, and the event log."""
