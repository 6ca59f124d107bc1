"""The values that travel round the circle, the Project contract, the error tree and the settings."""
