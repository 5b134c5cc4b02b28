"""What the lab takes to find bugs, to go through all there is, and beside other packages that look for interleavings."""
