"""Training: features fitted on training rows alone, and one Trainer port with a baseline, torch and Keras behind it."""
