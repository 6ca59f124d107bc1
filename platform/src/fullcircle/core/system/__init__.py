"""The operating system: files, folders, child processes, signals, and waiting for what is away."""
