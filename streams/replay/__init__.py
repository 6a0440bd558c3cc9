"""Reading topics again: a range into the live generation, or a shadow of it that is compared and promoted."""
