"""What boots: sources, kernels, driver, guest programs and image, and the cache that keeps them."""
