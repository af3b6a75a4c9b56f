"""What happens to records: ``host`` stages run on NumPy in the workers, ``device`` stages on JAX after the transfer."""
