"""fullcircle: experiment tracking that closes the whole circle."""
