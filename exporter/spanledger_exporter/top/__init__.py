"""`spanledger top`: what is being spent right now, for a terminal."""
