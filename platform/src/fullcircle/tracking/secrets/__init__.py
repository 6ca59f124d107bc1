"""Secret scanning: passwords, tokens and keys are masked before anything is stored."""
