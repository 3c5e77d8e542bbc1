"""The bench: this service and its peers in turn on the same cores, against the budget."""
