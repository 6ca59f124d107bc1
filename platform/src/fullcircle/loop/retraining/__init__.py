"""Retraining: train candidates, judge them against the champion, register and release the challenger."""
