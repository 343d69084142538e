"""The composition root: settings -> gate -> ASGI app. Every adapter is chosen here and nowhere else."""
