"""What anchors and boxes have to do with each other: which anchor is trained to find which object."""
