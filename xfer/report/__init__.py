"""What is shown: pages and plots."""
