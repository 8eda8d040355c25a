"""Images: where they are found, how they are read, and how batches are drawn from them."""
