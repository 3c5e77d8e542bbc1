"""HTTP only: turns requests into questions and answers into bytes."""
