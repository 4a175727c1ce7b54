"""What this project's speed, overheads and growth are measured with: see `make bench`."""
