"""Jobs in processes that Ray starts, on one machine or on the machines of a cluster."""
