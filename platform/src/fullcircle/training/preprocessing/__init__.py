"""Preprocessing fitted on training rows alone: tables by a ColumnTransformer, images by channel statistics."""
