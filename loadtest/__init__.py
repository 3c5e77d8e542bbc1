"""Load on a running service: the open-loop storm with its proof, and the locust file."""
