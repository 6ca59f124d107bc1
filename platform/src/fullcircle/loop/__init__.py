"""The use cases that compose the stages: retrain, release, watch, decide, replay. No tool is imported here."""
