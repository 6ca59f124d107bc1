"""Training checkpoints: the folders themselves, and the thread that writes them while training goes on."""
