"""What was recorded: one row per operation, written by either runtime."""
