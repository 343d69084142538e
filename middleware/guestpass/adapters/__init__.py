"""One outside thing per file; its exceptions become ours here, nowhere else."""
