"""Spanledger."""
