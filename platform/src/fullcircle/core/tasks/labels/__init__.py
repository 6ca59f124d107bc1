"""The labels of a task: what they may be in the data, and how they are sent, logged and recalled."""
