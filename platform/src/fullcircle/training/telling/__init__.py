"""What a training says of itself: where its time went, what it used and cost, and its scalars for TensorBoard."""
