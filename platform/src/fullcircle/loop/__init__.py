"""Use cases that compose the stages: retrain, promote, watch, decide, lineage, backup. No tool is imported here."""
