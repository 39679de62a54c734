"""What evaluations found, for people: one HTML page of several versions side by side."""
