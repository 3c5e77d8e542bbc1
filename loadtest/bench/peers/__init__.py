"""What others write for the same task, in good faith: no authentication, and a yes that nothing has recorded yet."""
