"""Training in PyTorch: one process or many, copied models (DDP) or sharded ones (FSDP2), and the trained model."""
