"""Chaos: a rush while parts die, and the proof from outside that every promise was kept."""
