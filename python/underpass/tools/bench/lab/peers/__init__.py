"""The lab beside other packages that look for interleavings, on the examples of their own documentation."""
