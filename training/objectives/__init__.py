"""The objectives of stages, one class a kind of loss (`training.objectives.objective.Objective`)."""
