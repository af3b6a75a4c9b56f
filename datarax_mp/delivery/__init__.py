"""From arrays in host memory to what the user gets."""
