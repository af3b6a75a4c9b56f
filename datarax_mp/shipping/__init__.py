"""A recipe on its way to another process: serialised once, by value, with large memory beside it."""
