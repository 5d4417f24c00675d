"""The objectives of stages, one class a kind of loss. All have the same interface, the only one the trainer knows.

Objective(stage, model, data, seed, …)   the stage of the recipe; a model with the parts of `stage.loads`; the data
batch(step) -> batch                     a pure function of (seed, step), on the CPU; prepared by `training.data.loader`
needs_model                              optional: True if `batch` uses the model, which loader processes do not have
loss(batch) -> (loss, metrics)           of a batch on the device: a scalar, and floats by name for the curves
validate() -> metrics                    on held-out data, in inference mode, in a few seconds
extra                                    optional: a module trained with the parts and not kept
adversary, adversary_loss(batch)         optional: a module with its own optimizer and loss, stepped before ours
"""
