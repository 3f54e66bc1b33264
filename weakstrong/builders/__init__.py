"""What steps do when they run; imported by the executor, never by a plan."""
