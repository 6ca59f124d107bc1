"""Telemetry of a training: time, energy and cost, load of ranks and nodes, and scalars for TensorBoard."""
