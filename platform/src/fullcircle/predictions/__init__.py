"""The durable log of what was asked and answered, and the labels that arrive later."""
