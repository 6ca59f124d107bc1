"""Training in Keras on TensorFlow: everything that imports either. Nothing is imported by this package itself."""
