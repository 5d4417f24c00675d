"""Training on a Kubernetes cluster: a Job a stage, and what starts the next one when the client has gone."""
