"""Launchers: each makes `training.rank_main.run_rank(job)` run in every rank, and returns when all of them ended.

    resolve.resolve_launcher(where, ...) -> LauncherChoice   reads `where`, and says why `auto` picked what it picked
    devices.detect_hardware() -> Hardware                    what this machine has; devices.resolve: cpu, cuda or tpu
    local.run(job, size, note=...) -> restarts               `local:N`: torch's elastic launcher, for both frameworks
    ray_train.run(job, address, size, note=...)              `ray...`: Ray Train
    rank_guard.guard_rank(job, rank) -> RankGuard            what each rank does so that it can be watched and stopped

The outcome of a job is in `job.folder`, for every launcher alike: the result, `fatal.json`, `preempted.json`, the event
logs. A launcher only sees to it that ranks start, that dead and hung ones are replaced `compute.max_restarts` times at
most, and that a request to stop reaches them.
"""
