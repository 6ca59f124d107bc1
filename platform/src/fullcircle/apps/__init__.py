"""Applications of the platform: packages that use its rooms and that none of them imports."""
