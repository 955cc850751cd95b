"""The machine and the processes of a job: devices, ranks, signals, SLURM, memory."""
