"""What on-call receives, how it gets there, and never twice."""
