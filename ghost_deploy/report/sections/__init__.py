"""What the page shows, a module for each part. They choose and order; they compute nothing."""
