"""The locust suite: one kind of person a file, the shape of ten o'clock, service levels and the report."""
