"""The Prefect edge: a local server, stages as tasks, deployments, events, limits and the two UIs."""
