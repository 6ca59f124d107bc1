"""Training in torch: one process or many, whole models or sharded ones, and the model as it is served."""
