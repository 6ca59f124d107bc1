"""What all rooms share: the Project contract, the values that travel round the circle, the errors and the settings."""
