"""What comes in: OTLP requests and whoever may send them -> calls, accepted once they are committed."""
