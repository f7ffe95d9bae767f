"""The HTTP clients: one thin shell each, and the only modules that know them."""
