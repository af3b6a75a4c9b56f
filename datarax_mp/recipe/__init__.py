"""What is done to records and what is made of them; the same in every process, and without JAX."""
