"""A home in one file: written while its servers run, checked to the last byte, and put back at any place."""
