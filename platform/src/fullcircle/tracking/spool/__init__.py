"""The write-ahead file of runs: what a training tells is in a file first, and a sender brings it to the tracker."""
