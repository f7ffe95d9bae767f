"""What is kept: one entry per call, the sums beside the entries, and how both are read, checked and kept small."""
