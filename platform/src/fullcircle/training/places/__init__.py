"""Where a job runs. A place makes `training.worker.run(job)` run in every rank, and returns when all of them ended.

    choice.choose(where, ...) -> Choice          reads `where`, and says why `auto` picked what it picked
    devices.find() -> Hardware                   what this machine has; devices.resolve: cpu, cuda or tpu
    local.run(job, size, note=...) -> restarts   `local:N`: torch's elastic launcher, for both frameworks
    cluster.run(job, address, size, note=...)    `ray...`: Ray Train
    rank.arm(job, rank) -> Armed                 what each rank does for whoever watches it

What a job came to is in `job.folder`, for every place alike: the result, `fatal.json`, `preempted.json`, the journals.
A place only sees to it that ranks start, that dead and hung ones are replaced `compute.max_restarts` times at most, and
that being told to stop reaches them.
"""
