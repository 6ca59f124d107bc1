"""Keras on TensorFlow: everything that imports either. Nothing is imported here, so that looking costs nothing."""
