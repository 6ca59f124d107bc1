"""Training: preprocessing fitted on training rows, and one Trainer port with a baseline, torch and Keras behind it."""
