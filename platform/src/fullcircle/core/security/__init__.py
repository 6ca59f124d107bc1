"""Access control, identity, file permissions, and escaping of untrusted text."""
