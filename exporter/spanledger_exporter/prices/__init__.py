"""What a call costs: price books, where they come from, and the rules by which they price."""
