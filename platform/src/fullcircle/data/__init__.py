"""What is learned from: partitions and their DVC versions, the data contract, and leakage-checked splits."""
