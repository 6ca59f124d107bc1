"""Write-ahead log of runs: metrics are in a local file first, and a thread uploads them to MLflow."""
