"""Find the learning rates and batch sizes between which a Keras model's training should cycle."""
