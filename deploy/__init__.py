"""Running the product: local services, images, charts. May import everything; nothing imports it."""
