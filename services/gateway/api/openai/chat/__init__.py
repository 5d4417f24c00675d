"""`/v1/chat/completions`: a request, answered by one stateless turn."""
