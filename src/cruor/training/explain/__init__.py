"""Where a network looked: Grad-CAM by its library beside the exact map of the forward pass."""
