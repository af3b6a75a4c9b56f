"""Who does the work of an epoch: ``base`` says what is expected of them."""
