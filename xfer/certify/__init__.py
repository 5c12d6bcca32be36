"""The parity certificate: the same run on two backends, compared stage by stage, tensor by tensor."""
